"""Which files are to be classified, of the files and folders that somebody named, in an order that stays the same."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

# Of the formats in `pictures.images`. A file that is named by itself may have any other.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class PathError(ValueError):
    """What was named cannot be walked; the message says what and why."""


def check(named: Sequence[Path]) -> None:
    """Raise PathError where something is missing, or would be met twice."""
    seen: set[Path] = set()
    for path in named:
        if not path.exists():
            raise PathError(f"{path} does not exist")
        whole = path.resolve()
        if whole in seen:
            raise PathError(f"{path} is named twice; name every file and folder once")
        seen.add(whole)
    for path in named:
        if inside := seen.intersection(path.resolve().parents):
            raise PathError(f"{path} lies in {inside.pop()}, which is named too; name one of them")


def pictures(named: Sequence[Path]) -> Iterator[Path]:
    """The named files as they are, and the files in the named folders that have a picture's suffix.

    Folders are read one at a time, to any depth, each in the order of its names. Hidden files and folders belong to
    some tool; links to folders are not followed. Raises PathError for a folder that cannot be read.
    """
    for path in named:
        if path.is_dir():
            yield from _in_folder(path)
        else:
            yield path


def _in_folder(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122 - ten times as fast
                yield Path(place, name)


def _refuse(error: OSError) -> None:
    raise PathError(f"{error.filename} cannot be read ({error.strerror})") from error
