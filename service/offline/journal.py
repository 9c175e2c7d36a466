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
    path.parent.mkdir(parents=True, exist_ok=True)
    first, begun = line(run), _first_line(path)
    if begun != first:
        # Only what a machine that stopped may have left of that very line is written over.
        if not first.startswith(begun):
            raise _of_another_run(path, begun, run)
        path.write_bytes(first)
    _cut_torn_line(path)
    return {row["filename"] for row in rows(path)}


def line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON, in ASCII."""
    return json.dumps(row).encode() + b"\n"


def append(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    """Add lines; they survive the end of this process once this returns."""
    with path.open("ab") as file:
        file.write(b"".join(map(line, found)))


def rows(path: Path) -> Iterator[Row]:
    """Everything found so far, in the order in which it was found."""
    with path.open("rb") as file:
        next(file)
        for number, text in enumerate(file, 2):
            row = _parsed(path, number, text)
            if "filename" not in row:
                raise _damaged(path, number)
            yield row


def _cut_torn_line(path: Path) -> None:
    """A machine that stops may leave half a line at the end; that file is classified again."""
    with path.open("rb+") as file:
        file.truncate(sum(len(text) for text in file if text.endswith(b"\n")))


def _first_line(path: Path) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.readline()


def _of_another_run(path: Path, begun: bytes, run: Mapping[str, Any]) -> JournalError:
    found = _parsed(path, 1, begun)
    other = ", ".join(
        f"{name} {found.get(name)!r} and not {run[name]!r}" for name in run if found.get(name) != run[name]
    )
    return JournalError(f"{path} was begun by another run, with {other}; go on with that one, or remove the file")


def _parsed(path: Path, number: int, text: bytes) -> Row:
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise _damaged(path, number)
    return row


def _damaged(path: Path, number: int) -> JournalError:
    return JournalError(f"{path} is damaged in line {number}; remove it and begin again")
