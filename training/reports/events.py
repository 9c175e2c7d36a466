"""A run's measures and pictures for TensorBoard, in RUN/tensorboard."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from training.resume import Epoch

SCALARS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}


@contextmanager
def opened(run: Path, finished_epochs: int) -> Iterator[SummaryWriter]:
    """A writer that goes on after the finished epochs; what a killed run wrote of a later one is hidden."""
    begins = finished_epochs + 1 if finished_epochs else 0  # step 0 has the augmented pictures
    with SummaryWriter(str(run / "tensorboard"), purge_step=begins) as writer:
        yield writer


def add_epoch(writer: SummaryWriter, epoch: Epoch) -> None:
    """The measures of a finished epoch."""
    for name, tag in SCALARS.items():
        writer.add_scalar(tag, epoch[name], epoch["epoch"])
    writer.flush()


def add_picture(writer: SummaryWriter, tag: str, png: bytes, step: int) -> None:
    """A PNG picture."""
    with Image.open(io.BytesIO(png)) as image:
        writer.add_image(tag, np.asarray(image.convert("RGB")), step, dataformats="HWC")
