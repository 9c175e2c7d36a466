"""The runs behind the shipped model, one after the other, in one picture: python -m benchmarks.chain"""

import json
from pathlib import Path
from typing import Any

from training.files import write_atomically
from training.reports.canvas import BLUE, GREY, canvas, png

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "results"
PICTURE = ROOT / "docs" / "flagship.png"
# Records of epochs, each of a run that began with the weights of the one before it.
RUNS = ("flagship", "flagship-finish", "flagship-taught", "flagship-taught-finish")


def picture() -> bytes:
    """Accuracies by epoch as a PNG, the runs told apart by lines and their names."""
    figure = canvas(9, 3.6)
    axes = figure.subplots()
    done = 0
    for run in RUNS:
        history = _epochs(RECORDS / f"{run}.jsonl")
        epochs = [done + epoch["epoch"] for epoch in history]
        for part, colour in (("train", GREY), ("validation", BLUE)):
            values = [100 * epoch[f"{part}_accuracy"] for epoch in history]
            axes.plot(epochs, values, "o-", color=colour, label=None if done else part, ms=3)
        axes.text((epochs[0] + epochs[-1]) / 2, 100.5, run, ha="center", fontsize=7)
        done = epochs[-1]
        axes.axvline(done + 0.5, color=GREY, lw=0.6, ls=":")
    axes.set_title("accuracy in %", loc="left", fontsize=10, pad=14)
    axes.set_xlabel("epoch")
    axes.set_ylim(60, 100)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return png(figure)


def _epochs(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    write_atomically(PICTURE, picture())
    print(PICTURE.relative_to(ROOT))
