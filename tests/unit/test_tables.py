"""The answers of a run over files as lines of JSON, CSV and Parquet: the same in each, and whole or not there."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.offline import tables
from service.offline.tables import TableError

TOP = [{"label": "cat", "class_id": 1, "probability": 0.75}, {"label": "a,b", "class_id": 0, "probability": 0.1}]
ROWS: list[dict[str, Any]] = [
    {"filename": "ä/1.png", **TOP[0], "unknown": False, "top": TOP},
    {"filename": 'odd",\nname.png', "error": "the file is empty"},
    {"filename": "2.png", **TOP[1], "top": TOP[1:]},
]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a table as they were written, whatever its format."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        kinds: dict[str, Callable[[str], Any]] = {
            "class_id": int,
            "probability": float,
            "unknown": lambda text: text == "True",
            "top": json.loads,
        }
        with path.open(encoding="utf-8", newline="") as file:
            listed = list(csv.DictReader(file))
        return [{name: kinds.get(name, str)(text) for name, text in row.items() if text} for row in listed]
    parquet = pytest.importorskip("pyarrow.parquet")
    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in found]


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_every_format_holds_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    tables.write(path, ROWS)
    assert read(path) == ROWS


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_no_rows_give_a_table_that_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    tables.write(path, [])
    assert read(path) == []


def test_a_csv_names_its_columns_first(tmp_path: Path) -> None:
    tables.write(tmp_path / "out.csv", ROWS)
    first = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert first == "filename,label,class_id,probability,unknown,error,top"


def test_parquet_is_written_in_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "ROW_GROUP", 2)
    tables.write(tmp_path / "out.parquet", ROWS)
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 1]


@pytest.mark.parametrize("suffix", tables.WRITERS)
def test_a_table_that_fails_on_the_way_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"before")

    def failing() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        tables.write(path, failing())
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["out.txt", "out", "out.parquet.gz"])
def test_an_unknown_format_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(TableError, match=rf"^{name} must end in one of: \.parquet, \.csv, \.jsonl$"):
        tables.check(Path(name))


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(TableError, match="is a folder; name a file"):
        tables.check(tmp_path / "out.csv")


def test_parquet_without_pyarrow_is_refused_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    with pytest.raises(TableError, match=r"install the extra 'parquet', or write \.csv or \.jsonl"):
        tables.check(Path("out.parquet"))
    tables.check(Path("out.csv"))
