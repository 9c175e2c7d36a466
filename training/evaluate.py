"""What a network is worth on labelled pictures: accuracy, each class's share, calibration, who is taken for whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from training import calibration
from training.calibration import Calibration
from training.checkpoint import CheckpointError, Metadata
from training.classifier import Classifier, Preprocess
from training.data.dataset import Split

BATCH = 500
# A confusion matrix of more classes fits no terminal.
MOST_CLASSES_SHOWN = 20
# With more, a confusion matrix would be the larger part of a checkpoint's description.
MOST_CLASSES_KEPT = 100


@dataclass(frozen=True)
class Evaluation:
    """Figures on N labelled pictures; `confusion` is int64 [K, K], rows the true classes, columns the answers."""

    classes: tuple[str, ...]
    accuracy: float
    calibration: Calibration
    confusion: Tensor

    def measures(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the accuracy, as plain JSON: calibration and, with few classes, confusion."""
        kept = {"confusion": self.confusion.tolist()} if len(self.classes) <= MOST_CLASSES_KEPT else {}
        return {"calibration": self.calibration.as_json(), **kept}


def evaluate(classifier: Classifier, metadata: Metadata, pictures: Split, classes: tuple[str, ...]) -> Evaluation:
    """Measure a checkpoint's classifier on pictures of the same classes. Raises CheckpointError for others."""
    require_fit(metadata, pictures, classes)
    logits = predict(classifier.network, classifier.preprocess, pictures.images).cpu()
    labels = pictures.labels.cpu()
    return Evaluation(
        classes=classes,
        accuracy=accuracy(logits, labels),
        calibration=calibration.measure(logits, labels, metadata.temperature),
        confusion=confusion(logits, labels),
    )


def require_fit(metadata: Metadata, pictures: Split, classes: Sequence[str]) -> None:
    """Raise CheckpointError where a checkpoint is for other classes or channels than those of the pictures."""
    if pictures.images.shape[3] != metadata.channels:
        raise CheckpointError(
            f"the checkpoint is for pictures with {metadata.channels} channel(s), these have {pictures.images.shape[3]}"
        )
    if list(classes) != metadata.classes:
        raise CheckpointError(f"the checkpoint knows other classes: {', '.join(metadata.classes)}")


def predict(network: nn.Module, preprocess: Preprocess, images: Tensor) -> Tensor:
    """Logits float32 [N, K] of uint8 images [N, H, W, C], on the images' device. The network must be in eval mode."""
    with torch.inference_mode():
        return torch.cat([network(preprocess(batch)).float() for batch in images.split(BATCH)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of pictures, in 0..1, whose largest logit is that of the label."""
    return int((logits.argmax(dim=1) == labels).sum()) / len(labels)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """How often class i (row) was answered with class j (column): int64 [K, K]."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(dim=1)
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def class_table(found: Evaluation) -> Table:
    """Precision and recall of every class."""
    title = f"accuracy {found.accuracy:.2%}, calibration error {calibration.errors(found.calibration)}"
    table = Table(title=title, title_justify="left")
    for heading in ("class", "pictures", "found (recall)", "right when named (precision)"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    named = found.confusion.sum(dim=0).tolist()
    there = found.confusion.sum(dim=1).tolist()
    for number, name in enumerate(found.classes):
        right = int(found.confusion[number, number])
        table.add_row(name, f"{there[number]:,}", _share(right, there[number]), _share(right, named[number]))
    return table


def confusion_table(found: Evaluation) -> Table | None:
    """The confusion matrix, rows the true classes; None where there are too many to show."""
    if len(found.classes) > MOST_CLASSES_SHOWN:
        return None
    table = Table(title="true class (row) answered as (column)", title_justify="left")
    table.add_column("")
    for name in found.classes:
        table.add_column(name[:5], justify="right")
    for name, row in zip(found.classes, found.confusion.tolist(), strict=True):
        table.add_row(name, *(str(count) if count else "." for count in row))
    return table


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
