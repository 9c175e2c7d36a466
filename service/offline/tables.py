"""Rows of a run over files as lines of JSON, CSV or Parquet, written as they come: a million take no more memory."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias

from service.offline.journal import Row, line
from training.files import replaced_when_whole

COLUMNS = ("filename", "label", "class_id", "probability", "unknown", "error", "top")
ROW_GROUP = 10_000


class TableError(ValueError):
    """A table of that kind cannot be written here; the message says what to do."""


def check(path: Path) -> None:
    """Raise TableError where `write` could not write such a table."""
    if path.suffix not in WRITERS:
        raise TableError(f"{path} must end in one of: {', '.join(WRITERS)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise TableError("Parquet needs pyarrow: install the extra 'parquet', or write .csv or .jsonl")
    if path.is_dir():
        raise TableError(f"{path} is a folder; name a file")


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write the whole table, by its suffix, or leave what was there. Raises OSError."""
    with replaced_when_whole(path) as file:
        WRITERS[path.suffix](file, rows)


def _write_lines(file: IO[bytes], rows: Iterable[Row]) -> None:
    file.writelines(map(line, rows))


def _write_csv(file: IO[bytes], rows: Iterable[Row]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "top": json.dumps(row["top"])} if "top" in row else row for row in rows)
    text.detach()  # which flushes it, and leaves the file open


def _write_parquet(file: IO[bytes], rows: Iterable[Row]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    one = {"label": arrow.string(), "class_id": arrow.int32(), "probability": arrow.float64()}
    top = arrow.list_(arrow.struct(list(one.items())))
    rest = {"unknown": arrow.bool_(), "error": arrow.string(), "top": top}
    schema = arrow.schema([("filename", arrow.string()), *one.items(), *rest.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(rows, ROW_GROUP):
            writer.write_table(arrow.Table.from_pylist(group, schema))


def _groups(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while group := list(islice(iterator, size)):
        yield group


Writer: TypeAlias = Callable[[IO[bytes], Iterable[Row]], Any]
WRITERS: dict[str, Writer] = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_lines}
