"""Table and picture of a ladder, from its result alone, so that anybody can make them again from the JSON file."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes

from training.reports.canvas import BLUE, canvas, png

FEW_EPOCHS = 2
OURS, DOCUMENT = BLUE, "#d1495b"
# Ten colours and then their light twins, so that twenty rungs can be told apart.
COLOURS = [colormaps["tab20"](number) for number in (*range(0, 20, 2), *range(1, 20, 2))]
Result = Mapping[str, Any]
Rung = Mapping[str, Any]


def table(result: Result) -> str:
    """The result as a Markdown page."""
    lines = [
        f"# {result['title']}",
        "",
        _circumstances(result),
        "",
        f"`{shlex.join(result['command'])}`",
        "",
        "| rung | parameters | pictures | epochs | train | validation | **test** | document, held out "
        "| document, train | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, result["rungs"]),
        "",
        *_common_errors(result),
        _made_with(result),
        "",
    ]
    return "\n".join(lines)


def picture(result: Result) -> bytes:
    """The result as a PNG picture: accuracy by rung beside the document's, loss and accuracy over the epochs."""
    rungs = [rung for rung in result["rungs"] if "history" in rung]
    height = 3.4 + 0.28 * len(rungs)
    figure = canvas(12, height, dpi=110)
    figure.suptitle(f"{result['title']}\n", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.text(0.01, 1 - 0.32 / height, _circumstances(result), fontsize=8, color="#555555", va="top")
    bars, loss, share = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _draw_bars(bars, rungs)
    for number, rung in enumerate(rungs):
        history, colour = rung["history"], COLOURS[number % len(COLOURS)]
        epochs = [epoch["epoch"] for epoch in history]
        loss.plot(*zip(*_losses(history), strict=True), color=colour, label=rung["name"], lw=1.4)
        losses = [epoch["validation_loss"] for epoch in history]
        loss.plot(epochs, losses, color=colour, ls=":", lw=1.4, marker="o" if len(epochs) == 1 else "", ms=2.5)
        values = [100 * epoch["validation_accuracy"] for epoch in history]
        share.plot(epochs, values, color=colour, label=rung["name"], lw=1.4, marker="o", ms=2.5)
    loss.set_title("loss (validation dotted)", loc="left", fontsize=9)
    share.set_title("validation accuracy in %", loc="left", fontsize=9)
    for axes in (loss, share):
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(left=0 if any(len(rung["history"]) <= FEW_EPOCHS for rung in rungs) else None)
        axes.grid(alpha=0.3)
    if rungs:
        share.legend(frameon=False, fontsize=7)
    for axes in (bars, loss, share):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return png(figure)


def _losses(history: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Epochs gone and training loss: by epoch, or by stretches of steps where the epochs are too few for a curve."""
    if len(history) > FEW_EPOCHS:
        return [(epoch["epoch"], epoch["train_loss"]) for epoch in history]
    return [(epoch["epoch"] - 1 + share, loss) for epoch in history for share, loss, _ in epoch["readings"]]


def _draw_bars(axes: Axes, rungs: list[Rung]) -> None:
    names = [rung["name"] for rung in rungs]
    split = "test" if all("test" in rung["accuracy"] for rung in rungs) else "validation"
    ours = [100 * rung["accuracy"][split] for rung in rungs]
    axes.barh(names, ours, color=OURS, height=0.6, label=f"ours, {split}")
    for number, value in enumerate(ours):
        axes.text(value - 1, number, f"{value:.1f}", color="white", va="center", ha="right", fontsize=8)
    for part, face, label in (("held_out", DOCUMENT, "held out"), ("train", "none", "in training")):
        there = [(n, 100 * r["reported"][part]) for n, r in enumerate(rungs) if r["reported"][part]]
        if there:
            numbers, values = zip(*there, strict=True)
            axes.plot(values, numbers, "D", color=DOCUMENT, mfc=face, ms=5, label=f"the document's, {label}")
    axes.set_ylim(max(len(rungs), 3) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_title("accuracy in %", loc="left", fontsize=9)
    if rungs:
        axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3)


def epochs_to(rung: Rung, error: float) -> float | None:
    """Epochs after which a stretch of training steps first had at most this share of wrong answers, or None."""
    return next((epochs for epochs, found in _stretches(rung) if found <= error), None)


def _stretches(rung: Rung) -> Iterator[tuple[float, float]]:
    """Epochs gone and share of wrong answers after every stretch of steps; those of a few steps are left out."""
    for epoch in rung["history"]:
        ends = [0.0, *(share for share, _, _ in epoch["readings"])]
        widths = [end - start for start, end in pairwise(ends)]
        for width, (share, _, accuracy) in zip(widths, epoch["readings"], strict=True):
            if width >= max(widths) / 2:
                yield float(epoch["epoch"] - 1 + share), 1 - float(accuracy)


def _row(rung: Rung) -> str:
    reported = rung["reported"]
    document = [_percent(reported["held_out"]), _percent(reported["train"])]
    if "diverged" in rung:
        cells = [rung["name"], "", "", "", "", "", f"diverged: {rung['diverged']}", *document, ""]
    else:
        best = max(rung["history"], key=lambda epoch: epoch["validation_accuracy"])
        cells = [
            rung["name"],
            f"{rung['parameters']:,}",
            f"{rung['pictures']['fit']:,}",
            _epochs(rung),
            _percent(best["train_accuracy"]),
            _percent(best["validation_accuracy"]),
            f"**{_percent(rung['accuracy']['test'])}**" if "test" in rung["accuracy"] else "",
            *document,
            f"{rung['seconds'] / 60:.1f}",
        ]
    return f"| {' | '.join(cells)} |"


def _epochs(rung: Rung) -> str:
    stages = rung["recipe"]["stages"]
    return " + ".join(str(stage["epochs"]) for stage in stages)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _circumstances(result: Result) -> str:
    """Data, machine and wall time in a line."""
    rungs = [rung for rung in result["rungs"] if "history" in rung]
    if not rungs:
        return "No rung was finished."
    minutes = sum(rung["seconds"] for rung in rungs) / 60
    names = _distinct(rung["pictures"]["name"] for rung in rungs)
    fit = _distinct(f"{rung['pictures']['fit']:,}" for rung in rungs)
    epochs = _distinct(str(len(rung["history"])) for rung in rungs)
    devices = _distinct(rung["provenance"]["device"] for rung in rungs)
    test = _distinct(f"{rung['pictures']['test']:,}" for rung in rungs)
    tested = "the test split unread" if test == "0" else f"tested on {test}"
    unit = "epoch" if epochs == "1" else "epochs"
    return f"{epochs} {unit}, {fit} pictures of {names}, {tested}; {devices}; {minutes:.1f} minutes in all"


def _common_errors(result: Result) -> list[str]:
    """Epochs to the lowest training error that both ReLU and tanh reach, without and with batch norm."""
    rungs = {rung["name"]: rung for rung in result["rungs"] if "history" in rung}
    lines = []
    for relu, tanh in (("relu", "tanh"), ("relu-bn", "tanh-bn")):
        if relu in rungs and tanh in rungs:
            error = max(_lowest_error(rungs[relu]), _lowest_error(rungs[tanh]))
            first, second = epochs_to(rungs[relu], error), epochs_to(rungs[tanh], error)
            if first and second:
                lines += [
                    f"Training error {error:.1%} (in a stretch of about 20 steps): `{relu}` after {first:.2f} epochs, "
                    f"`{tanh}` after {second:.2f}, {second / first:.1f} times as many.",
                    "",
                ]
    return lines


def _lowest_error(rung: Rung) -> float:
    return min(error for _, error in _stretches(rung))


def _made_with(result: Result) -> str:
    rungs = [rung for rung in result["rungs"] if "history" in rung]
    if not rungs:
        return ""
    commits = _distinct(str(rung["provenance"]["commit"]) for rung in rungs)
    versions = _distinct(
        ", ".join(f"{name} {version}" for name, version in sorted(rung["provenance"]["versions"].items()))
        for rung in rungs
    )
    return f"Commit {commits}; {versions}. The weights are those of the epoch with the best validation accuracy."


def _distinct(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(values))
