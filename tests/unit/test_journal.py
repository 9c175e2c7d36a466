"""What a run over files has found outlives the run, and is never mixed with that of another."""

from pathlib import Path
from typing import Any

import pytest

from service.offline import journal
from service.offline.journal import JournalError

RUN = {"journal": 1, "model": "pets:0123456789ab", "top_k": 3}
ROWS: list[dict[str, Any]] = [{"filename": "a.png", "label": "cat"}, {"filename": "b.png", "error": "empty"}]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A journal with two rows."""
    path = tmp_path / "journal"
    assert journal.open_or_begin(path, RUN) == set()
    journal.append(path, ROWS)
    return path


def test_the_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    assert journal.open_or_begin(tmp_path / "not" / "yet" / "journal", RUN) == set()


def test_what_was_found_is_there_when_the_run_goes_on(begun: Path) -> None:
    assert journal.open_or_begin(begun, RUN) == {"a.png", "b.png"}
    journal.append(begun, [{"filename": "c.png"}])
    assert list(journal.rows(begun)) == [*ROWS, {"filename": "c.png"}]


@pytest.mark.parametrize("name", ['quote"and\nline.png', "bild-ä.png", r"raw\xff.png"])
def test_any_name_comes_back_as_it_was(begun: Path, name: str) -> None:
    journal.append(begun, [{"filename": name}])
    assert name in journal.open_or_begin(begun, RUN)


def test_wherever_the_machine_stopped_only_the_row_that_is_cut_is_lost(begun: Path) -> None:
    whole = begun.read_bytes()
    for end in range(len(whole)):
        begun.write_bytes(whole[:end])
        lines = whole[:end].count(b"\n")
        assert len(journal.open_or_begin(begun, RUN)) == max(lines - 1, 0)
        assert list(journal.rows(begun)) == ROWS[: max(lines - 1, 0)]


@pytest.mark.parametrize(("name", "value"), [("model", "pets:ba9876543210"), ("top_k", 1)])
def test_the_journal_of_another_run_is_refused_and_left_alone(begun: Path, name: str, value: Any) -> None:
    before = begun.read_bytes()
    with pytest.raises(JournalError) as refusal:
        journal.open_or_begin(begun, {**RUN, name: value})
    assert f"with {name} {RUN[name]!r} and not {value!r}; go on with that one, or remove the file" in str(refusal.value)
    assert begun.read_bytes() == before


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b"[1]\n", b'{"file": 1}\n', b'{"filename"\n'])
def test_a_damaged_line_is_refused_with_its_number(begun: Path, damage: bytes) -> None:
    with begun.open("ab") as file:
        file.write(damage + b'{"filename": "c.png"}\n')
    with pytest.raises(JournalError, match=r"journal is damaged in line 4; remove it and begin again$"):
        journal.open_or_begin(begun, RUN)


@pytest.mark.parametrize("content", [b"\x89PNG\n", b"no line", b"[1]\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged in line 1"):
        journal.open_or_begin(path, RUN)
    assert path.read_bytes() == content
