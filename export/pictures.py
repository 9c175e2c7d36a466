"""Which pictures the gate is given: the test pictures of a data set, or else crops of photographs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from export import parity
from export.parity import Pictures
from training.checkpoint import Metadata
from training.data import sources
from training.data.dataset import DataError
from training.data.folder import PICTURE_SUFFIXES
from training.pixels import Pixels, to_pixels

CROPS = 256


def default(size: int, channels: int) -> Pictures:
    """Crops of the golden photographs; noise where the photographs are not at hand."""
    # Three times the input's size, so that a crop shows a part of an object rather than a flat patch.
    photographs = [_photograph(path, 3 * size, channels) for path in golden_photographs()]
    if not photographs:
        return Pictures(parity.seeded_noise(CROPS, size, channels, seed=2), None, f"{CROPS} pictures of noise")
    return Pictures(parity.random_crops(photographs, CROPS, size), None, f"{CROPS} crops of photographs")


def labelled(kind: str, directory: Path | None, meta: Metadata) -> Pictures:
    """The test split of a data set whose classes are those of the checkpoint. Raises DataError where they differ."""
    dataset = sources.load(kind, directory, size=meta.size)
    if list(dataset.classes) != meta.classes:
        raise DataError(f"the classes of {directory or kind} are not the checkpoint's: {', '.join(meta.classes)}")
    images = np.ascontiguousarray(dataset.test.images.numpy())
    return Pictures(images, dataset.test.labels.numpy(), f"{len(images):,} test pictures of {dataset.name}")


def golden_photographs() -> Sequence[Path]:
    """The freely licensed photographs of the repository; none where only the packages are installed."""
    folder = Path(__file__).parent.parent / "tests" / "golden"
    return sorted(path for path in folder.glob("*") if path.suffix in PICTURE_SUFFIXES)


def _photograph(path: Path, size: int, channels: int) -> Pixels:
    with Image.open(path) as image:
        return to_pixels(image, size, channels)
