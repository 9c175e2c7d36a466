"""Atomic files, and which modules of training stay free of torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.files import write_atomically


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "down" / "file", b"content")
    assert (tmp_path / "deep" / "down" / "file").read_bytes() == b"content"


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_nothing_else_is_left_beside_the_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_the_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("module", ["training", "training.files", "training.pixels"])
def test_a_service_can_import_the_module_without_torch(module: str) -> None:
    loaded = f"import sys, {module}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
