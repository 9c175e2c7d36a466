"""What is classified without a server: files that are pictures, and the rows of Parquet files that hold pictures."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service.offline import files

PARQUET = ".parquet"
# What Parquet is made of may have any size; so many rows are held at once.
ROWS = 64
NEEDS = "install the extra 'parquet'"


class SourceError(ValueError):
    """A Parquet file cannot be read as pictures; the message says why."""


class Source(NamedTuple):
    """A picture: its name in the output, and the file that holds it, or it itself."""

    name: str
    content: Path | bytes


class Share(NamedTuple):
    """What is read as one: a picture's file, or a group of rows of a Parquet file."""

    path: Path
    group: int | None  # counted from 0; None for a picture's file


def shown(path: Path) -> str:
    """A path as text that every format can hold: bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode(errors="backslashreplace")


def shares(named: Sequence[Path]) -> Iterator[Share]:
    """All that is in the named files and folders, in their order. Raises PathError and SourceError."""
    for path in files.pictures(named):
        if path.suffix == PARQUET:
            yield from (Share(path, group) for group in range(_opened(path).num_row_groups))
        else:
            yield Share(path, None)


def sources(of: Iterable[Share]) -> Iterator[Source]:
    """The pictures in some shares, one after another. Raises SourceError."""
    for path, group in of:
        if group is None:
            yield Source(shown(path), path)
        else:
            yield from _rows(path, group)


def number(named: Sequence[Path]) -> int:
    """How many pictures there are. Raises PathError and SourceError."""
    return sum(_opened(path).metadata.num_rows if path.suffix == PARQUET else 1 for path in files.pictures(named))


def _rows(path: Path, group: int) -> Iterator[Source]:
    """The pictures of a group; a row's name is FILE#ROW, where rows are counted from 0 in the whole file."""
    file = _opened(path)
    row = sum(file.metadata.row_group(before).num_rows for before in range(group))
    try:
        for batch in file.iter_batches(ROWS, row_groups=[group], columns=[_column(path, file.schema_arrow)]):
            for value in batch.column(0).to_pylist():
                content = value["bytes"] if isinstance(value, dict) else value
                yield Source(f"{shown(path)}#{row}", content or b"")
                row += 1
    except OSError as error:
        raise _damaged(path, error) from error


def _column(path: Path, schema: Any) -> str:
    """The one column of pictures: bytes, or as in the Hugging Face Hub's data sets a struct that has `bytes`."""
    from pyarrow import types

    def is_binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def holds(kind: Any) -> bool:
        return types.is_struct(kind) and any(part.name == "bytes" and is_binary(part.type) for part in kind)

    found = [name for name, kind in zip(schema.names, schema.types, strict=True) if is_binary(kind) or holds(kind)]
    if len(found) != 1:
        told = f"has {len(found)} columns of pictures" + (f" ({', '.join(found)})" if found else "")
        raise SourceError(f"{path} {told}; it must have one, of bytes or of structs with `bytes`")
    return found[0] if is_binary(schema.field(found[0]).type) else f"{found[0]}.bytes"


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise SourceError(f"{path} needs pyarrow: {NEEDS}") from error
    try:
        return ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})")
