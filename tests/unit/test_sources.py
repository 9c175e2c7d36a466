"""Pictures in Parquet files are sources like files: in their order, each with a name of its own."""

from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from service.offline.sources import Share, SourceError, number, shares, sources

CONTENTS = [b"zero", b"one", None, b"three", b"four"]


def written(path: Path, **columns: Any) -> Path:
    parquet.write_table(arrow.table(columns), path, row_group_size=2)
    return path


def test_rows_are_pictures_and_their_names_count_through_all_groups(tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet", image=CONTENTS, label=list(range(5)))
    found = list(sources(shares([path])))
    assert found == [(f"{path}#{row}", content or b"") for row, content in enumerate(CONTENTS)]
    assert number([path]) == len(CONTENTS)


def test_every_group_is_a_share(tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet", image=CONTENTS)
    found = list(shares([path]))
    assert found == [Share(path, 0), Share(path, 1), Share(path, 2)]
    assert list(sources(found[2:])) == [(f"{path}#4", b"four")]


def test_structs_with_bytes_are_pictures_too(tmp_path: Path) -> None:
    path = written(tmp_path / "hub.parquet", img=[{"bytes": b"zero", "path": "cat.jpg"}], label=[3])
    assert list(sources(shares([path]))) == [(f"{path}#0", b"zero")]


def test_files_and_parquet_may_stand_beside_each_other(tmp_path: Path) -> None:
    path, picture = written(tmp_path / "some.parquet", image=[b"zero"]), tmp_path / "cat.jpg"
    picture.touch()
    assert list(sources(shares([picture, path]))) == [(str(picture), picture), (f"{path}#0", b"zero")]
    assert number([picture, path]) == 2


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"label": [1]}, r"has 0 columns of pictures; it must have one"),
        ({"one": [b"a"], "two": [b"b"]}, r"has 2 columns of pictures \(one, two\)"),
    ],
)
def test_without_one_column_of_pictures_the_file_is_refused(
    tmp_path: Path, columns: dict[str, Any], reason: str
) -> None:
    path = written(tmp_path / "other.parquet", **columns)
    with pytest.raises(SourceError, match=reason):
        list(sources(shares([path])))


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_text("label,image\n")
    with pytest.raises(SourceError, match=r"text\.parquet cannot be read as Parquet"):
        number([path])
