"""Data sets by name, held whole as uint8 tensors: cifar10 | fashion-mnist | folder | synthetic.

A CIFAR-sized set is 150 MB, so it fits on any device; a Python loader that opens one picture at a time would starve it.
"""

import heapq
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.data import folder
from training.data.dataset import DataError, Dataset, Split
from training.pixels import COLOUR_MODES, Pixels, to_pixels


def load(kind: str, directory: Path | None, *, size: int = 32, skip_corrupt: bool = False) -> Dataset:
    """Load data set `kind` with pictures of `size` x `size`. Raises DataError where it cannot be used.

    With `skip_corrupt`, a folder's unreadable pictures are left out and named in the data set's notes.
    """
    if kind not in KINDS:
        raise DataError(f"unknown data set {kind!r}; there are: {', '.join(KINDS)}")
    if kind == "synthetic":
        return _synthetic(size)
    if directory is None:
        raise DataError(f"--data {kind} needs --data-dir DIR")
    if kind == "folder":
        return folder.load(directory, size, skip_corrupt=skip_corrupt)
    return DOWNLOADS[kind](directory, size)


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
    counts = [max(1, round(len(members) * share)) for members in _by_class(split)]
    return _parted(split, counts, seed)


def hold_out_count(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """The same with `count` pictures in all, shared among the classes by their size."""
    classes = _by_class(split)
    least, most = len(classes), len(split) - len(classes)
    if not least <= count <= most:
        raise DataError(f"validation_images must be from {least} to {most}, so that every class has some to fit to")
    counts = [1] * len(classes)
    quotas = [count * len(members) / len(split) for members in classes]
    shortfalls = [(1 - quota, label) for label, quota in enumerate(quotas) if len(classes[label]) > 2]
    heapq.heapify(shortfalls)
    for _ in range(count - least):
        shortfall, label = heapq.heappop(shortfalls)
        counts[label] += 1
        if counts[label] < len(classes[label]) - 1:
            heapq.heappush(shortfalls, (shortfall + 1, label))
    return _parted(split, counts, seed)


def _by_class(split: Split) -> list[Tensor]:
    """The indices of each class's pictures."""
    classes = [torch.nonzero(split.labels == label).flatten() for label in split.labels.unique().tolist()]
    for label, members in enumerate(classes):
        if len(members) < 2:
            raise DataError(f"class number {label} has a single training picture: it needs two, one to validate on")
    return classes


def _parted(split: Split, counts: list[int], seed: int) -> tuple[Split, Split]:
    """Hold out that many of each class, drawn with `seed`, but leave each a picture to fit to."""
    generator = torch.Generator().manual_seed(seed)
    fit, held = [], []
    for members, wanted in zip(_by_class(split), counts, strict=True):
        drawn = members[torch.randperm(len(members), generator=generator)]
        count = min(wanted, len(members) - 1)
        held.append(drawn[:count])
        fit.append(drawn[count:])
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
    train, test = (_resized(part.data, part.targets, size) for part in parts)
    return Dataset("cifar10", tuple(parts[0].classes), train, test)


def _fashion_mnist(directory: Path, size: int) -> Dataset:
    from torchvision.datasets import FashionMNIST

    try:
        parts = [FashionMNIST(str(directory), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Fashion-MNIST is not in {directory}/FashionMNIST/raw and could not be downloaded ({error})"
        ) from error
    train, test = (_resized(part.data.numpy()[..., np.newaxis], part.targets, size) for part in parts)
    return Dataset("fashion-mnist", tuple(parts[0].classes), train, test)


def _resized(images: Pixels, labels: list[int] | Tensor, size: int) -> Split:
    channels = images.shape[3]
    if images.shape[1:3] != (size, size):
        originals, images = images, np.empty((len(images), size, size, channels), np.uint8)
        for number, original in enumerate(originals):
            picture = Image.fromarray(original.squeeze(), COLOUR_MODES[channels])
            images[number] = to_pixels(picture, size, channels)
    return Split(torch.from_numpy(images), torch.as_tensor(labels, dtype=torch.int64))


def _synthetic(size: int) -> Dataset:
    """Rows and columns of five widths under noise: needs no file, and a small network learns it in an epoch."""
    widths = (2, 3, 4, 6, 8)
    classes = tuple(f"{direction}-{width}px" for direction in ("columns", "rows") for width in widths)
    generator = torch.Generator().manual_seed(0)
    train, test = (_stripes(count, size, widths, generator) for count in (2000, 500))
    return Dataset("synthetic", classes, train, test)


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


DOWNLOADS: dict[str, Callable[[Path, int], Dataset]] = {"cifar10": _cifar10, "fashion-mnist": _fashion_mnist}
KINDS = (*DOWNLOADS, "folder", "synthetic")
