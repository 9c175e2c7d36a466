"""What a run tells people: the progress bar's style, lines and tables, metrics.jsonl."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table

from training import calibration
from training.checkpoint import Metadata
from training.files import write_atomically
from training.resume import Epoch


class Lines:
    """A text file that turns each redrawing of a progress bar into a line, for output that goes to a file."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, text: str) -> None:
        """Write what a terminal would show of `text`."""
        if shown := text.split("\r")[-1].strip():
            self.file.write(f"{shown}\n")

    def flush(self) -> None:
        """Hand everything on."""
        self.file.flush()


def bar_style() -> dict[str, Any]:
    """How progress bars look; where output goes to a file, they are a line every 15 seconds."""
    common = {"unit": " images", "unit_scale": True, "smoothing": 0.1}
    if sys.stderr.isatty():
        return common | {"mininterval": 0.2}
    return common | {"mininterval": 15.0, "file": Lines(sys.stderr), "bar_format": "{desc}{percentage:3.0f}%{postfix}"}


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation accuracy; the earliest of equals."""
    return max(history, key=lambda epoch: epoch["validation_accuracy"])


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """One line on a finished epoch."""
    return (
        f"epoch {epoch['epoch']:.0f}/{epochs}: "
        f"loss {epoch['train_loss']:.3f}, validation {epoch['validation_loss']:.3f}; "
        f"accuracy {epoch['train_accuracy']:.2%}, validation {epoch['validation_accuracy']:.2%}; "
        f"{epoch['images_per_second']:.0f} images/s, {epoch['seconds']:.0f} s"
    )


def final_table(metadata: Metadata) -> Table:
    """What a finished run reached."""
    best = best_epoch(metadata.history)
    data = metadata.data
    table = Table(title=f"{metadata.network} on {data['name']}", title_justify="left", show_header=False)
    table.add_row("best epoch", f"{best['epoch']:.0f} of {len(metadata.history)}")
    table.add_row("training accuracy", f"{best['train_accuracy']:.2%} ({data['fit']:,} pictures, augmented)")
    table.add_row("validation accuracy", f"{metadata.accuracy['validation']:.2%} ({data['validation']:,} pictures)")
    if "test" in metadata.accuracy:
        table.add_row("test accuracy", f"{metadata.accuracy['test']:.2%} ({data['test']:,} pictures)")
    if "calibration" in metadata.measures:  # not in a run that an older version finished
        table.add_row("calibration error", calibration.errors(calibration.from_json(metadata.measures["calibration"])))
    table.add_row("time", f"{training_seconds(metadata) / 60:.1f} minutes")
    return table


def training_seconds(metadata: Metadata) -> float:
    """Wall time of all epochs, validation included."""
    return sum(epoch["seconds"] for epoch in metadata.history)


def write_metrics(path: Path, history: Sequence[Epoch]) -> None:
    """One JSON line for every finished epoch."""
    lines = (json.dumps(epoch, sort_keys=True) + "\n" for epoch in history)
    write_atomically(path, "".join(lines).encode())
