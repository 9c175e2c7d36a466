"""The words of `python -m service classify`: what it takes, how far it is, and what it says in the end."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from export.bundle import Bundle
from service import launch, settings
from service.offline import files, journal, on_ray, runs, sources, tables
from service.offline.job import begun
from service.offline.runs import OfflineError, Tally, Way
from service.pictures.answers import DEFAULT_TOP_K, default_top_k
from service.settings import Settings

REFUSALS = (
    files.PathError,
    journal.JournalError,
    runs.OfflineError,
    on_ray.RayError,
    sources.SourceError,
    tables.TableError,
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all below it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="FILE.parquet, .csv or .jsonl; else lines of JSON")
    parser.add_argument("--top-k", type=int, metavar="K", help=f"classes to tell (default {DEFAULT_TOP_K})")
    parser.add_argument("--ray", metavar="ADDRESS|local", help="by the workers of a Ray cluster, or of one made here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Classify the named files. Returns 1 where some could not be, else 0. Raises REFUSALS, and as an engine's load."""
    if options.out is not None:
        tables.check(options.out)
    files.check(options.paths)
    chosen = settings.from_environment(os.environ)
    bundle = launch.opened(options.model)
    classes = len(bundle.classes)
    top_k = default_top_k(classes) if options.top_k is None else options.top_k
    if not 1 <= top_k <= classes:
        raise OfflineError(f"--top-k must be from 1 to {classes}, not {top_k}")
    total = sources.number(options.paths)
    started = time.monotonic()
    with _way(bundle, chosen, top_k, options.ray) as way, _progress(total) as advance:
        try:
            tally = _results(options, way, runs.header(bundle, top_k), advance)
        except (OfflineError, on_ray.RayError, OSError) as error:
            raise OfflineError(f"{error}{_kept(options.out)}") from error
        except KeyboardInterrupt:
            raise OfflineError(f"stopped{_kept(options.out)}") from None
    _report(tally, time.monotonic() - started, options.out)
    return 1 if tally.bad else 0


def _results(options: argparse.Namespace, way: Way, header: journal.Row, advance: Callable[[int], None]) -> Tally:
    if options.out is not None:
        return runs.to_table(options.paths, way, header, options.out, advance)
    try:
        return runs.to_lines(options.paths, way, _print, advance)
    except BrokenPipeError:
        # Or Python would try once more at its end, and say that it failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OfflineError("nobody reads the standard output any more") from None


def _print(lines: bytes) -> None:
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


@contextmanager
def _way(bundle: Bundle, chosen: Settings, top_k: int, ray: str | None) -> Iterator[Way]:
    """In this process, or by the workers of Ray; tells which engine it is."""
    model = f"{bundle.name}:{bundle.version}"
    if ray is not None:
        with on_ray.cluster(ray, bundle, chosen, top_k) as workers:
            print(f"{workers.number} workers of Ray run {model}", file=sys.stderr)
            yield partial(on_ray.there, workers=workers)
        return
    with begun(bundle, replace(chosen, workers=1), top_k) as job:
        print(f"{job.engine} runs {model}", file=sys.stderr)
        yield partial(runs.here, job=job)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("files", total=total)
        yield lambda done: progress.advance(task, done)


def _kept(out: Path | None) -> str:
    if out is None or not runs.journal_of(out).exists():
        return ""
    return f"; what was done is in {runs.journal_of(out)}, and the same command goes on from there"


def _report(tally: Tally, seconds: float, out: Path | None) -> None:
    """What became of the files, and the bad ones last, where nobody can miss them."""
    written = f" in {out}" if out else ""
    told = f"{tally.files:,} files, {tally.bad:,} of them bad{written}; {seconds:.1f} s"
    more = [f"and {tally.bad - len(tally.named):,} more"] if tally.bad > len(tally.named) else []
    print("\n".join([told, *(f"  {name}" for name in tally.named), *(f"  {text}" for text in more)]), file=sys.stderr)
