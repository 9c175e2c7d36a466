"""What a run over files has found so far: a line of JSON for each file, in a file of its own beside the output.

The first line says which run it is. Lines are appended, so a run that was killed has lost nothing but its last batch.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

# An entry of `answers`, with the path in `filename`.
Row: TypeAlias = dict[str, Any]


class JournalError(ValueError):
    """The journal is of another run, or no journal; the message says what to do."""


def open_or_begin(path: Path, run: Mapping[str, Any]) -> set[str]:
    """The names of the files that are done. Raises JournalError where the journal is of another run than `run`."""
    if path.exists():
        _cut_torn_line(path)
    if not path.exists() or not path.stat().st_size:
        append(path, [run])
    with path.open("rb") as file:
        begun = _parsed(path, 1, file.readline())
    if begun != dict(run):
        names = [name for name in run if begun.get(name) != run[name]]
        other = ", ".join(f"{name} {begun.get(name)!r} and not {run[name]!r}" for name in names)
        raise JournalError(f"{path} was begun by another run, with {other}; go on with that one, or remove the file")
    return {row["filename"] for row in rows(path)}


def append(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    """Add lines; they survive the end of this process once this returns."""
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(row).encode() + b"\n" for row in found))


def rows(path: Path) -> Iterator[Row]:
    """Everything found so far, in the order in which it was found."""
    with path.open("rb") as file:
        next(file)
        for number, line in enumerate(file, 2):
            row = _parsed(path, number, line)
            if "filename" not in row:
                raise _damaged(path, number)
            yield row


def _cut_torn_line(path: Path) -> None:
    """A machine that stops may leave half a line at the end; that file is classified again."""
    with path.open("rb+") as file:
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def _parsed(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise _damaged(path, number)
    return row


def _damaged(path: Path, number: int) -> JournalError:
    return JournalError(f"{path} is damaged in line {number}; remove it and begin again")
