"""Data sets by name, held whole as uint8 tensors: cifar10 | fashion-mnist | folder | synthetic.

A CIFAR-sized set is 150 MB, so it fits on any device; a Python loader that opens one picture at a time would starve it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.pixels import COLOUR_MODES, Pixels, to_pixels

# Pillow lets go of the GIL only while it decodes: threads share the work on photographs, but were 2.5 times slower
# than one on CIFAR-10's files of 2 KB (50,000 of them, 2 cores).
SMALL_FILE = 16 << 10
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


class DataError(Exception):
    """The pictures cannot be used; the message says which one, why, and what to do."""


@dataclass(frozen=True)
class Split:
    """Pictures uint8 [N, H, W, C] with labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """The pictures at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Split":
        """The same pictures on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Pictures to train on, pictures to report on, and the names of the classes in label order."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return int(self.train.images.shape[3])


def load(kind: str, directory: Path | None, *, size: int = 32) -> Dataset:
    """Load data set `kind` with pictures of `size` x `size`. Raises DataError where it cannot be used."""
    if kind not in LOADERS:
        raise DataError(f"unknown data set {kind!r}; there are: {', '.join(LOADERS)}")
    if directory is None and kind != "synthetic":
        raise DataError(f"--data {kind} needs --data-dir DIR")
    return LOADERS[kind](directory or Path(), size)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 [N, H, W, C], on the scale 0..1, to four decimals.

    A channel that never varies gets a deviation of 1, so that dividing by it is harmless.
    """
    means, deviations = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(images.shape[3]):
        parts = images[..., channel].split(2000)
        share = torch.stack([part.flatten().bincount(minlength=256) for part in parts]).sum(dim=0).double()
        share /= share.sum()
        mean = (share * values).sum()
        deviation = (share * (values - mean) ** 2).sum().sqrt()
        means.append(round(mean.item(), 4))
        deviations.append(round(deviation.item(), 4) or 1.0)
    return tuple(means), tuple(deviations)


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Part `split` into pictures to fit and pictures to select on: `share` of every class, at least one of each."""
    generator = torch.Generator().manual_seed(seed)
    fit, held = [], []
    for label in split.labels.unique().tolist():
        members = torch.nonzero(split.labels == label).flatten()
        if len(members) < 2:
            raise DataError(f"class number {label} has a single training picture: it needs two, one to validate on")
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(1, round(len(members) * share)), len(members) - 1)
        held.append(members[:count])
        fit.append(members[count:])
    return split.take(torch.cat(fit).sort().values), split.take(torch.cat(held).sort().values)


def limit(split: Split, count: int | None, seed: int) -> Split:
    """At most `count` pictures of `split`, drawn with `seed`."""
    if count is None or count >= len(split):
        return split
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:count]
    return split.take(chosen.sort().values)


def _cifar10(directory: Path, size: int) -> Dataset:
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(str(directory), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"CIFAR-10 is not in {directory} and could not be downloaded ({error}); with the pictures at hand as "
            "train/CLASS/*.png and test/CLASS/*.png, use --data folder"
        ) from error
    splits = [_resized(part.data, part.targets, size) for part in parts]
    return Dataset("cifar10", tuple(parts[0].classes), *splits)


def _fashion_mnist(directory: Path, size: int) -> Dataset:
    from torchvision.datasets import FashionMNIST

    try:
        parts = [FashionMNIST(str(directory), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST is not in {directory}/FashionMNIST/raw and could not be downloaded ({error})"
        ) from error
    splits = [_resized(part.data.numpy()[..., np.newaxis], part.targets, size) for part in parts]
    return Dataset("fashion-mnist", tuple(parts[0].classes), *splits)


def _resized(images: Pixels, labels: list[int] | Tensor, size: int) -> Split:
    channels = images.shape[3]
    if images.shape[1:3] != (size, size):
        originals, images = images, np.empty((len(images), size, size, channels), np.uint8)
        for number, original in enumerate(originals):
            picture = Image.fromarray(original.squeeze(), COLOUR_MODES[channels])
            images[number] = to_pixels(picture, size, channels)
    return Split(torch.from_numpy(images), torch.as_tensor(labels, dtype=torch.int64))


def _folder(directory: Path, size: int) -> Dataset:
    train_dir, test_dir = directory / "train", directory / "test"
    for part in (train_dir, test_dir):
        if not part.is_dir():
            raise DataError(f"{part} is missing: --data folder needs {directory}/train/CLASS/* and test/CLASS/*")
    classes = _class_folders(train_dir)
    if len(classes) < 2:
        raise DataError(f"{train_dir} has {len(classes)} class folder(s); a classifier needs two or more")
    if unknown := set(_class_folders(test_dir)) - set(classes):
        raise DataError(f"{test_dir} has classes that {train_dir} lacks: {', '.join(sorted(unknown))}")
    name = directory.resolve().name
    return Dataset(name, classes, _read_tree(train_dir, classes, size), _read_tree(test_dir, classes, size))


def _class_folders(directory: Path) -> tuple[str, ...]:
    """Names of the folders in a directory, sorted; hidden ones belong to some tool."""
    return tuple(sorted(e.name for e in directory.iterdir() if e.is_dir() and not e.name.startswith(".")))


def _read_tree(root: Path, classes: tuple[str, ...], size: int) -> Split:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = root / name
        found = sorted(path for path in folder.glob("*") if _is_picture(path))
        if not found:
            raise DataError(f"{folder} holds no JPEG or PNG picture; add some or remove the class")
        paths += found
        labels += [label] * len(found)
    if sum(path.stat().st_size for path in paths) > SMALL_FILE * len(paths):
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(partial(_read_picture, size=size), paths))
    else:
        images = [_read_picture(path, size) for path in paths]
    return Split(torch.from_numpy(np.stack(images)), torch.tensor(labels))


def _is_picture(path: Path) -> bool:
    """By its ending; hidden files (macOS leaves some) are none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _read_picture(path: Path, size: int) -> Pixels:
    try:
        with Image.open(path) as image:
            return to_pixels(image, size, channels=3)
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise DataError(f"{path} is not a readable picture ({error}); remove or replace it") from error


def _synthetic(_: Path, size: int) -> Dataset:
    """Rows and columns of five widths under noise: needs no file, and a small network learns it in an epoch."""
    widths = (2, 3, 4, 6, 8)
    classes = tuple(f"{direction}-{width}px" for direction in ("columns", "rows") for width in widths)
    generator = torch.Generator().manual_seed(0)
    return Dataset("synthetic", classes, *(_stripes(count, size, widths, generator) for count in (2000, 500)))


def _stripes(count: int, size: int, widths: tuple[int, ...], generator: torch.Generator) -> Split:
    labels = torch.arange(count) % (2 * len(widths))
    phase = torch.rand(count, 1, generator=generator)
    period = 2 * torch.tensor(widths)[labels % len(widths)][:, None]
    wave = torch.sin(2 * torch.pi * (torch.arange(size) / period + phase))
    along_columns = (labels < len(widths))[:, None, None]
    stripes = torch.where(along_columns, wave[:, None, :], wave[:, :, None])[..., None]
    colour = torch.rand(count, 1, 1, 3, generator=generator) * 60 + 30
    noise = torch.randn(count, size, size, 3, generator=generator) * 25
    return Split((128 + stripes * colour + noise).clamp(0, 255).to(torch.uint8), labels)


LOADERS: dict[str, Callable[[Path, int], Dataset]] = {
    "cifar10": _cifar10,
    "fashion-mnist": _fashion_mnist,
    "folder": _folder,
    "synthetic": _synthetic,
}
