"""Table and picture of a run, from its record alone, so that anybody can make them again from the JSON file."""

import math
import shlex
from typing import Any

from matplotlib.axes import Axes

from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.loads import CLIENTS, LOADS, PICTURES, Load
from benchmarks.serving.summary import Result, Target, errors, median, targets
from training.reports.canvas import canvas, png

COLOURS = {"ours": "#0b6e99", "bentoml": "#d1495b", "litserve": "#edae49", "starlette": "#66a182"}
FIGURES = ("images_per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_ms_a_picture", "generator_cpu")


def table(result: Result) -> str:
    """The result as a Markdown page."""
    lines = [f"# {_title(result)}", "", _circumstances(result), ""]
    lines += [f"`{shlex.join(result['command'])}`", ""]
    if result["targets"]:
        lines += ["| what | measured | target | |", "|---|---|---|---|", *map(_target, targets(result)), ""]
    for name, load in LOADS.items():
        rows = [_load_row(result, server, name) for server in CONTENDERS if _has(result, server, name)]
        if rows:
            lines += [f"## {_heading(load)}", "", *_HEAD, *rows, ""]
    lines += ["## Start and memory", "", *_START_HEAD]
    lines += [_start_row(result, server) for server in CONTENDERS if _starts(result, server)]
    lines += ["", *_ceiling(result), _made_with(result), ""]
    return "\n".join(lines)


_HEAD = (
    "| server | images/s | p50 ms | p95 ms | p99 ms | CPU ms a picture | generator's CPU | errors |",
    "|---|---|---|---|---|---|---|---|",
)
_START_HEAD = ("| server | to ready, s | largest process, MiB | all, MiB | torch |", "|---|---|---|---|---|")


def picture(result: Result) -> bytes:
    """The result as a PNG picture: latency against throughput of the closed loops, a line for each server."""
    figure = canvas(11, 4.6, dpi=110)
    figure.suptitle(_title(result), x=0.01, ha="left", fontsize=12, fontweight="bold")
    for axes, pictures in zip(figure.subplots(1, len(PICTURES)), PICTURES, strict=True):
        _draw(axes, result, pictures)
    figure.supxlabel(_circumstances(result), x=0.01, ha="left", fontsize=7, color="#555555")
    return png(figure)


def _draw(axes: Axes, result: Result, pictures: int) -> None:
    """p50 as a line and p99 dotted, over the images a second; each point a number of clients."""
    for server, colour in COLOURS.items():
        for figure, style, label in (("p50_ms", "-", CONTENDERS[server].title), ("p99_ms", ":", None)):
            points = [
                (speed, latency, clients)
                for clients in CLIENTS
                if (speed := _median(result, server, f"{clients}x{pictures}", "images_per_second"))
                and (latency := _median(result, server, f"{clients}x{pictures}", figure))
            ]
            if points:
                speeds, latencies, _ = zip(*points, strict=True)
                axes.plot(speeds, latencies, style, color=colour, marker="o", ms=3, lw=1.4, label=label)
                for speed, latency, clients in points if label else ():
                    axes.annotate(str(clients), (speed, latency), xytext=(3, 3), textcoords="offset points", fontsize=6)
    ceiling = median(result, "ceiling", "images_per_second")
    if ceiling and pictures > 1:
        axes.axvline(ceiling, color="#999999", ls="--", lw=1, label="decoding and inference alone")
    axes.set_yscale("log")
    least, most = axes.get_ylim()
    axes.set_ylim(10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(most)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlim(left=0)
    axes.set_title(f"{_pictures(pictures)} a request: ms, p50 and (dotted) p99, by clients", loc="left", fontsize=9)
    axes.set_xlabel("images a second", fontsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if axes.has_data():
        axes.legend(frameon=False, fontsize=7)


def _target(target: Target) -> str:
    wanted = f">= {target.form.format(target.least)}" if target.least is not None else ""
    wanted = wanted or f"<= {target.form.format(target.most)}"
    measured = "not measured" if target.figure is None else target.form.format(target.figure)
    return f"| {target.what} | {measured} | {wanted} | {({True: 'met', False: '**missed**', None: ''})[target.met]} |"


def _load_row(result: Result, server: str, load: str) -> str:
    speed, p50, p95, p99, cpu, generator = (_median(result, server, load, figure) for figure in FIGURES)
    times = [_number(value, 1) for value in (p50, p95, p99)]
    missed = ", ".join(f"{count:,} {error}" for error, count in sorted(errors(result, server, load).items()))
    cells = [CONTENDERS[server].title, _number(speed, 0), *times, _number(cpu, 2), f"{generator or 0:.0%}", missed]
    return f"| {' | '.join(cells)} |"


def _start_row(result: Result, server: str) -> str:
    starts = _starts(result, server)
    seconds, worker, total = (
        median(result, "starts", figure, server=server) for figure in ("seconds", "worker_mib", "total_mib")
    )
    torch = "imported" if any(one["torch"] for one in starts) else "no"
    cells = [CONTENDERS[server].title, _number(seconds, 2), _number(worker, 0), _number(total, 0), torch]
    return f"| {' | '.join(cells)} |"


def _ceiling(result: Result) -> list[str]:
    speed = median(result, "ceiling", "images_per_second")
    told = "Decoding and inference alone, in batches of 32, a process for each core:"
    return [f"{told} {speed:,.0f} images/s.", ""] if speed else []


def _title(result: Result) -> str:
    return f"Servers of {result['model']['name']}, {result['model']['variant']}"


def _circumstances(result: Result) -> str:
    """Machine, file, rounds and pace in a line."""
    provenance, settings, model = result["provenance"], result["settings"], result["model"]
    rounds = len({one["round"] for one in result["loads"]})
    return (
        f"{provenance['device']}, {provenance['cores']} cores for servers and generator; "
        f"{model['bytes'] / 1e6:.1f} MB, sha256 {model['sha256'][:12]}; "
        f"median of {rounds} {'rounds' if rounds > 1 else 'round'} of {settings['seconds']:g} s each"
    )


def _made_with(result: Result) -> str:
    provenance = result["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(provenance["versions"].items()))
    return f"Commit {provenance['commit']}; {versions}."


def _heading(load: Load) -> str:
    if load.clients:
        return f"{load.clients} {'clients' if load.clients > 1 else 'client'}, {_pictures(load.pictures)} a request"
    return f"Open loop at {load.share:.0%} of each server's own peak, {_pictures(load.pictures)} a request"


def _pictures(count: int) -> str:
    return f"{count} {'pictures' if count > 1 else 'picture'}"


def _has(result: Result, server: str, load: str) -> bool:
    return any(one["server"] == server and one["load"] == load for one in result["loads"])


def _starts(result: Result, server: str) -> list[Any]:
    return [one for one in result["starts"] if one["server"] == server]


def _median(result: Result, server: str, load: str, figure: str) -> float | None:
    return median(result, "loads", figure, server=server, load=load)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
