"""What a run shows people: the progress bar's style, lines and tables, metrics.jsonl, the picture of the curves."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from training.checkpoint import Metadata
from training.files import write_atomically
from training.resume import Epoch


def bar_style() -> dict[str, Any]:
    """How progress bars look; where output goes to a file, they speak seldom enough to stay readable."""
    terminal = sys.stderr.isatty()
    return {"unit": " images", "unit_scale": True, "smoothing": 0.1, "mininterval": 0.2 if terminal else 15.0}


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation accuracy; the earliest of equals."""
    return max(history, key=lambda epoch: epoch["validation_accuracy"])


def epoch_line(epoch: Epoch, epochs: int) -> str:
    """One line on a finished epoch."""
    return (
        f"epoch {epoch['epoch']:.0f}/{epochs}: loss {epoch['train_loss']:.3f}, train {epoch['train_accuracy']:.2%}, "
        f"validation {epoch['validation_accuracy']:.2%}, {epoch['images_per_second']:.0f} images/s, "
        f"{epoch['seconds']:.0f} s"
    )


def final_table(metadata: Metadata) -> Table:
    """What a finished run reached."""
    best = best_epoch(metadata.history)
    data = metadata.data
    table = Table(title=f"{metadata.network} on {data['name']}", title_justify="left", show_header=False)
    table.add_row("best epoch", f"{best['epoch']:.0f} of {len(metadata.history)}")
    table.add_row("training accuracy", f"{best['train_accuracy']:.2%} ({data['fit']:,} pictures, augmented)")
    table.add_row("validation accuracy", f"{metadata.accuracy['validation']:.2%} ({data['validation']:,} pictures)")
    table.add_row("test accuracy", f"{metadata.accuracy['test']:.2%} ({data['test']:,} pictures)")
    table.add_row("time", f"{training_seconds(metadata) / 60:.1f} minutes")
    return table


def training_seconds(metadata: Metadata) -> float:
    """Wall time of all epochs, validation included."""
    return sum(epoch["seconds"] for epoch in metadata.history)


def write_metrics(path: Path, history: Sequence[Epoch]) -> None:
    """One JSON line for every finished epoch."""
    lines = (json.dumps(epoch, sort_keys=True) + "\n" for epoch in history)
    write_atomically(path, "".join(lines).encode())


def curves(history: Sequence[Epoch]) -> bytes:
    """Loss and accuracy over the epochs as a PNG picture."""
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, share = figure.subplots(1, 2)
    epochs = [epoch["epoch"] for epoch in history]
    for part, colour in (("train", "#8a8f98"), ("validation", "#0b6e99")):
        loss.plot(epochs, [epoch[f"{part}_loss"] for epoch in history], "o-", color=colour, label=part, ms=3)
        values = [100 * epoch[f"{part}_accuracy"] for epoch in history]
        share.plot(epochs, values, "o-", color=colour, label=part, ms=3)
    for axes, title in ((loss, "loss"), (share, "accuracy in %")):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
