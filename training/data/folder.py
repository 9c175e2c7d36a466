"""Your own pictures: DIR/train/CLASS/* and DIR/test/CLASS/*, JPEG or PNG, read once and then from a cache."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.data import cache
from training.data.dataset import DataError, Dataset, Split
from training.pixels import Pixels, to_pixels

# Pillow lets go of the GIL only while it decodes: threads share the work on photographs, but were 2.5 times slower
# than one on CIFAR-10's files of 2 KB (50,000 of them, 2 cores).
SMALL_FILE = 16 << 10
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
MOST_NAMED = 5  # of bad files in one message


@dataclass(frozen=True)
class Listing:
    """The picture files of one part of a data set with their labels, and what else lies beside them."""

    files: list[cache.File]
    labels: list[int]
    ignored: list[Path]


def load(directory: Path, size: int, *, skip_corrupt: bool = False) -> Dataset:
    """Read all pictures at `size` x `size`. Raises DataError where they cannot be used.

    With `skip_corrupt`, unreadable pictures are left out and named in the data set's notes.
    """
    train_dir, test_dir = directory / "train", directory / "test"
    for part in (train_dir, test_dir):
        if not part.is_dir():
            raise DataError(f"{part} is missing: --data folder needs {directory}/train/CLASS/* and test/CLASS/*")
    classes = _class_folders(train_dir)
    if len(classes) < 2:
        raise DataError(f"{train_dir} has {len(classes)} class folder(s); a classifier needs two or more")
    if unknown := set(_class_folders(test_dir)) - set(classes):
        raise DataError(f"{test_dir} has classes that {train_dir} lacks: {', '.join(sorted(unknown))}")
    listings = [_list(part, classes) for part in (train_dir, test_dir)]
    train, train_notes = _read(train_dir, listings[0], classes, size, skip_corrupt)
    test, test_notes = _read(test_dir, listings[1], classes, size, skip_corrupt)
    notes = (*_ignored(listings), *train_notes, *test_notes)
    return Dataset(directory.resolve().name, classes, train, test, notes)


def _class_folders(directory: Path) -> tuple[str, ...]:
    """Names of the folders in a directory, sorted; hidden ones belong to some tool."""
    return tuple(sorted(e.name for e in directory.iterdir() if e.is_dir() and not e.name.startswith(".")))


def _list(root: Path, classes: Sequence[str]) -> Listing:
    listing = Listing([], [], [])
    for label, name in enumerate(classes):
        before = len(listing.files)
        for entry in cache.entries(root / name) if (root / name).is_dir() else ():
            if entry.is_file and entry.suffix in PICTURE_SUFFIXES:
                listing.files.append(entry)
                listing.labels.append(label)
            else:
                listing.ignored.append(Path(entry.path))
        if len(listing.files) == before:
            raise DataError(f"{root / name} holds no JPEG or PNG picture; add some or remove the class")
    return listing


def _read(
    root: Path, listing: Listing, classes: Sequence[str], size: int, skip_corrupt: bool
) -> tuple[Split, list[str]]:
    """The pictures of a listing, from the cache where no file has changed, and notes for the user."""
    key = cache.Key(root.resolve(), size, tuple(listing.files))
    decoded, notes = cache.load(key), []
    if decoded is None:
        decoded = _decode([Path(file.path) for file in listing.files], size)
        notes = cache.save(key, decoded)
    failures = list(decoded.failures.values())
    if failures and not skip_corrupt:
        raise DataError(f"{_named(failures)}; remove or replace what is broken, or leave it out with --skip-corrupt")
    labels = torch.tensor([label for index, label in enumerate(listing.labels) if index not in decoded.failures])
    if missing := set(range(len(classes))) - set(labels.tolist()):
        raise DataError(f"{root / classes[min(missing)]} holds no readable picture; add some or remove the class")
    if failures:
        notes.append(f"skipped {len(failures)} of {len(listing.files):,} pictures: {_named(failures)}")
    return Split(decoded.images, labels), notes


def _decode(paths: list[Path], size: int) -> cache.Decoded:
    if sum(path.stat().st_size for path in paths) > SMALL_FILE * len(paths):
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(partial(_read_picture, size=size), paths))
    else:
        read = [_read_picture(path, size) for path in paths]
    pixels = [result for result in read if not isinstance(result, str)]
    images = np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8)
    failures = {index: result for index, result in enumerate(read) if isinstance(result, str)}
    return cache.Decoded(torch.from_numpy(images), failures)


def _read_picture(path: Path, size: int) -> Pixels | str:
    try:
        with Image.open(path) as image:
            return to_pixels(image, size, channels=3)
    except Exception as error:  # damaged files make Pillow raise nearly anything
        return f"{path} is not a readable picture ({error})"


def _ignored(listings: Iterable[Listing]) -> list[str]:
    paths = [path for listing in listings for path in listing.ignored]
    named = _named([str(path) for path in paths])
    return [f"ignored {len(paths)} that are no JPEG or PNG file: {named}"] if paths else []


def _named(messages: Sequence[str]) -> str:
    more = f"; and {len(messages) - MOST_NAMED} more" if len(messages) > MOST_NAMED else ""
    return "; ".join(messages[:MOST_NAMED]) + more
