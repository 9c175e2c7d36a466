"""Which files `python -m service classify` takes, and in which order."""

import os
import shutil
from pathlib import Path

import pytest

from service.offline.files import PathError, check, pictures


def touched(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, *named: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in pictures([root / name for name in named])]


def test_a_folder_gives_its_own_pictures_before_those_of_its_folders_each_by_name(tmp_path: Path) -> None:
    touched(tmp_path, "z.png", "b/2.jpg", "b/1.JPG", "a/deep/er/x.webp", "m.tiff")
    assert found(tmp_path, ".") == ["m.tiff", "z.png", "a/deep/er/x.webp", "b/1.JPG", "b/2.jpg"]


def test_what_is_named_keeps_its_place(tmp_path: Path) -> None:
    touched(tmp_path, "b/1.png", "a/1.png", "c.png")
    assert found(tmp_path, "c.png", "b", "a") == ["c.png", "b/1.png", "a/1.png"]


def test_other_files_of_a_folder_are_left_alone_but_not_where_they_are_named(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "labels.csv", "Thumbs.db", ".hidden.png", ".git/x.png", "_a.png.journal")
    assert found(tmp_path, ".") == ["a.png"]
    assert found(tmp_path, "labels.csv", ".hidden.png") == ["labels.csv", ".hidden.png"]


def test_a_link_to_a_folder_is_not_followed_so_that_a_circle_ends(tmp_path: Path) -> None:
    touched(tmp_path, "in/a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    assert found(tmp_path, "in") == ["in/a.png"]


def test_a_folder_is_read_only_when_its_turn_comes(tmp_path: Path) -> None:
    touched(tmp_path, "a/1.png", "b/1.png")
    walk = pictures([tmp_path])
    next(walk)
    touched(tmp_path, "b/2.png")
    assert [path.name for path in walk] == ["1.png", "2.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    touched(tmp_path, "a/1.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(PathError, match=r"a cannot be read \(Permission denied\)"):
        found(tmp_path, ".")


def test_a_folder_that_goes_away_before_its_turn_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "a/1.png", "b/1.png")
    walk = pictures([tmp_path])
    next(walk)
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(PathError, match=r"b cannot be read \(No such file or directory\)"):
        list(walk)


def test_what_does_not_exist_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(PathError, match=r"^.*/nothing does not exist$"):
        check([tmp_path / "nothing"])


@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "b/../a"), ("a/1.png", "a/1.png")])
def test_what_is_named_twice_is_refused(tmp_path: Path, one: str, other: str) -> None:
    touched(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(PathError, match="is named twice; name every file and folder once"):
        check([tmp_path / one, tmp_path / other])


@pytest.mark.parametrize("inner", ["a/1.png", "a/in"])
def test_what_lies_in_a_named_folder_is_not_named_once_more(tmp_path: Path, inner: str) -> None:
    touched(tmp_path, "a/1.png", "a/in/2.png")
    for order in ([inner, "a"], ["a", inner]):
        with pytest.raises(PathError, match=r"lies in .*/a, which is named too"):
            check([tmp_path / name for name in order])
    check([tmp_path / "a" / "1.png", tmp_path / "a" / "in"])
