"""Which pictures the gate is given: the test pictures of a data set, or else crops of photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from export import parity
from export.parity import Pictures
from training.checkpoint import Metadata
from training.data import sources
from training.data.dataset import DataError, Split
from training.data.folder import PICTURE_SUFFIXES
from training.pixels import Pixels, to_pixels

CROPS = 256
TRAINING = 2_000  # pictures, to calibrate on and to choose by


def default(size: int, channels: int) -> Pictures:
    """Crops of the golden photographs; noise where the photographs are not at hand."""
    # Three times the input's size, so that a crop shows a part of an object rather than a flat patch.
    photographs = [_photograph(path, 3 * size, channels) for path in golden_photographs()]
    if not photographs:
        return Pictures(parity.seeded_noise(CROPS, size, channels, seed=2), None, f"{CROPS} pictures of noise")
    return Pictures(parity.random_crops(photographs, CROPS, size), None, f"{CROPS} crops of photographs")


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures of a data set: the whole test split, and some of those to train on, drawn with a seed."""

    test: Pictures
    training: Pictures


def labelled(kind: str, directory: Path | None, meta: Metadata) -> Labelled:
    """A data set whose classes are those of the checkpoint. Raises DataError where they differ."""
    dataset = sources.load(kind, directory, size=meta.size)
    if list(dataset.classes) != meta.classes:
        raise DataError(f"the classes of {directory or kind} are not the checkpoint's: {', '.join(meta.classes)}")
    some = sources.limit(dataset.train, TRAINING, seed=0)
    # `limit` keeps their order, by class; whoever takes the first of them should get some of every class.
    order = torch.randperm(len(some), generator=torch.Generator().manual_seed(0))
    return Labelled(
        _pictures(dataset.test, f"{len(dataset.test):,} test pictures of {dataset.name}"),
        _pictures(some.take(order), f"{len(some):,} training pictures of {dataset.name}"),
    )


def _pictures(split: Split, name: str) -> Pictures:
    return Pictures(np.ascontiguousarray(split.images.numpy()), split.labels.numpy(), name)


def golden_photographs() -> Sequence[Path]:
    """The freely licensed photographs of the repository; none where only the packages are installed."""
    folder = Path(__file__).parent.parent / "tests" / "golden"
    return sorted(path for path in folder.glob("*") if path.suffix in PICTURE_SUFFIXES)


def _photograph(path: Path, size: int, channels: int) -> Pixels:
    with Image.open(path) as image:
        return to_pixels(image, size, channels)
