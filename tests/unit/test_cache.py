"""The cache of decoded pictures: used where nothing has changed, and never where something has."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.sets import SIZE, cats_and_dogs, reds, save
from training.data import cache, folder
from training.data.cache import File, Key
from training.data.dataset import DataError, Dataset


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's caches go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "pets")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded from here on, as PART/CLASS/NAME."""
    names: list[str] = []
    read_picture = folder._read_picture

    def noted(path: Path, size: int) -> object:
        names.append("/".join(path.parts[-3:]))
        return read_picture(path, size)

    monkeypatch.setattr(folder, "_read_picture", noted)
    return names


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, size: int) -> None:
        raise AssertionError(f"{path} was decoded at {size}")

    monkeypatch.setattr(folder, "_read_picture", forbidden)


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def same(first: Dataset, second: Dataset) -> bool:
    return all(
        torch.equal(getattr(getattr(first, part), what), getattr(getattr(second, part), what))
        for part in ("train", "test")
        for what in ("images", "labels")
    )


def replace_silently(path: Path, red: int) -> None:
    """Another picture of the same name, length and time of modification: only the time of change tells."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a file system ticks every few milliseconds
        save(path, red)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_the_second_load_decodes_nothing_and_gives_the_same_pictures(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder.load(pets, SIZE)
    forbid_decoding(monkeypatch)
    second = folder.load(pets, SIZE)
    assert same(first, second)
    assert (second.name, second.classes, second.notes) == (first.name, first.classes, ())


def test_other_files_are_told_of_in_every_load(pets: Path) -> None:
    (pets / "train" / "cat" / "notes.txt").write_text("beside the pictures")
    assert folder.load(pets, SIZE).notes == folder.load(pets, SIZE).notes != ()


def test_the_cache_is_where_xdg_says(pets: Path, home: Path) -> None:
    folder.load(pets, SIZE)
    assert [path.parent for path in files(home)] == [home / "alexnet-service"] * 2


@pytest.mark.parametrize("value", [None, ""])
def test_without_xdg_the_cache_is_in_the_home_folder(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache.cache_directory() == Path.home() / ".cache" / "alexnet-service"


def test_a_replaced_file_is_noticed_though_name_length_and_modification_are_the_same(pets: Path) -> None:
    folder.load(pets, SIZE)
    replace_silently(pets / "train" / "cat" / "2.png", 77)
    assert reds(folder.load(pets, SIZE).train) == [11, 77, 21, 22]


def test_a_set_is_known_by_size_and_order_and_all_that_tells_a_file() -> None:
    first, second = File("cat/a.png", True, 10, 20, 30), File("cat/b.png", True, 10, 20, 30)
    others = [
        replace(second, **change) for change in ({"path": "cat/c.png"}, {"length": 9}, {"modified": 9}, {"changed": 9})
    ]
    known = [Key(Path(), SIZE, (first, second)), Key(Path(), SIZE + 1, (first, second)), Key(Path(), SIZE, (first,))]
    known += [Key(Path(), SIZE, (second, first)), *(Key(Path(), SIZE, (first, other)) for other in others)]
    assert len({key.fingerprint for key in known}) == len(known) == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda cats: save(cats / "3.png", 13), [11, 12, 13, 21, 22], id="added"),
        pytest.param(lambda cats: (cats / "1.png").unlink(), [12, 21, 22], id="removed"),
        pytest.param(lambda cats: (cats / "1.png").rename(cats / "9.png"), [12, 11, 21, 22], id="renamed"),
        pytest.param(lambda cats: (cats / "1.png").rename(cats / "1.JPG"), [11, 12, 21, 22], id="renamed in place"),
        pytest.param(
            lambda cats: (cats / "1.png").rename(cats.parent / "dog" / "9.png"), [12, 21, 22, 11], id="in other class"
        ),
    ],
)
def test_a_changed_set_is_decoded_anew(
    change: Callable[[Path], object], expected: list[int], pets: Path, decoded: list[str]
) -> None:
    folder.load(pets, SIZE)
    decoded.clear()
    change(pets / "train" / "cat")
    dataset = folder.load(pets, SIZE)
    assert reds(dataset.train) == expected
    assert len(decoded) == len(dataset.train) == len(dataset.train.labels)
    assert all(name.startswith("train/") for name in decoded)


def test_each_size_has_a_cache_of_its_own(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = folder.load(pets, SIZE), folder.load(pets, 2 * SIZE)
    assert large.size == 2 * SIZE
    forbid_decoding(monkeypatch)
    assert same(folder.load(pets, SIZE), small)
    assert same(folder.load(pets, 2 * SIZE), large)


def test_sets_of_the_same_name_in_other_places_are_kept_apart(tmp_path: Path) -> None:
    first, second = cats_and_dogs(tmp_path / "1" / "pets"), cats_and_dogs(tmp_path / "2" / "pets")
    save(second / "train" / "cat" / "1.png", 77)
    assert [reds(folder.load(pets, SIZE).train)[0] for pets in (first, second, first)] == [11, 77, 11]


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_cache_is_decoded_anew_and_repaired(
    kept: int, pets: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder.load(pets, SIZE)
    whole = {path: path.read_bytes() for path in files(home)}
    for path, content in whole.items():
        path.write_bytes(content[:kept])
    assert same(folder.load(pets, SIZE), first)
    assert {path: path.read_bytes() for path in files(home)} == whole
    forbid_decoding(monkeypatch)
    assert same(folder.load(pets, SIZE), first)


@pytest.mark.parametrize(
    "content",
    [b"no tensors", b"\xff" * 64, (1 << 40).to_bytes(8, "little") + b"{}"],
    ids=["text", "ones", "huge header"],
)
def test_a_damaged_cache_is_decoded_anew(content: bytes, pets: Path, home: Path) -> None:
    first = folder.load(pets, SIZE)
    for path in files(home):
        path.write_bytes(content)
    assert same(folder.load(pets, SIZE), first)


def test_a_cache_of_another_version_of_pillow_is_decoded_anew(
    pets: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.load(pets, SIZE)
    decoded.clear()
    monkeypatch.setattr("PIL.__version__", "0.0")
    folder.load(pets, SIZE)
    assert len(decoded) == 6


def test_a_cache_that_cannot_be_written_is_a_note_and_no_error(pets: Path, home: Path) -> None:
    home.write_text("a file where the folder should be")
    dataset = folder.load(pets, SIZE)
    assert reds(dataset.train) == [11, 12, 21, 22]
    assert len(dataset.notes) == 2
    for note in dataset.notes:
        assert note.startswith(f"the decoded pictures could not be kept in {home / 'alexnet-service'} (")
        assert note.endswith("); the next run decodes again")


def test_a_set_too_large_to_keep_twice_is_not_cached(pets: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 4 * SIZE * SIZE * 3 - 1)  # one byte less than the training pictures take
    assert [note.partition(" of ")[2] for note in folder.load(pets, SIZE).notes] == [
        "pictures are not kept decoded; the next run decodes them again"
    ]
    assert len(files(home)) == 1


def test_what_was_wrong_with_corrupt_pictures_is_kept_too(pets: Path, decoded: list[str]) -> None:
    (pets / "train" / "cat" / "1.png").write_bytes(b"no picture")
    first = folder.load(pets, SIZE, skip_corrupt=True)
    decoded.clear()
    again = folder.load(pets, SIZE, skip_corrupt=True)
    assert (again.notes, reds(again.train), decoded) == (first.notes, [12, 21, 22], [])
    with pytest.raises(DataError, match=r"1\.png is not a readable picture"):
        folder.load(pets, SIZE)


def test_a_corrupt_picture_that_was_replaced_is_read(pets: Path) -> None:
    (pets / "train" / "cat" / "1.png").write_bytes(b"no picture")
    folder.load(pets, SIZE, skip_corrupt=True)
    save(pets / "train" / "cat" / "1.png", 13)
    assert reds(folder.load(pets, SIZE).train) == [13, 12, 21, 22]


def test_another_spelling_of_the_folder_finds_the_same_pictures(
    pets: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.load(pets, SIZE)
    decoded.clear()
    monkeypatch.chdir(pets.parent)
    folder.load(Path(pets.name), SIZE)
    folder.load(pets / "train" / "..", SIZE)
    assert decoded == []
