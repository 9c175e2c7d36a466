"""What a run tells people where nobody looks at a terminal: lines, and no redrawing."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from tests.conftest import ROOT
from training.reports import progress
from training.reports.progress import Lines


def written(*texts: str) -> str:
    file = io.StringIO()
    lines = Lines(file)
    for text in texts:
        lines.write(text)
    lines.flush()
    return file.getvalue()


def test_every_redrawn_bar_becomes_a_line() -> None:
    assert written("\r  0%", "\r 50% half", "\r100% done") == "0%\n50% half\n100% done\n"


def test_of_several_redrawings_at_once_the_last_one_is_seen() -> None:
    assert written("\r 10%\r 20%\r 30%") == "30%\n"


@pytest.mark.parametrize("text", ["", "\n", "\r", "\r          \r", "   "])
def test_what_clears_a_line_leaves_nothing(text: str) -> None:
    assert written(text) == ""


def test_text_without_redrawing_is_a_line_too() -> None:
    assert written("a remark\n") == "a remark\n"


def test_a_bar_in_a_file_is_drawn_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with tqdm(total=4, **(progress.bar_style() | {"mininterval": 0, "miniters": 1})) as bar:
        for _ in range(4):
            bar.set_postfix_str("loss 2.000", refresh=False)
            bar.update()
    lines = file.getvalue().splitlines()
    assert "\r" not in file.getvalue()
    assert list(dict.fromkeys(line.partition("%")[0] for line in lines)) == ["0", "25", "50", "75", "100"]
    assert all("loss 2.000" in line for line in lines[1:])


def test_a_bar_on_a_terminal_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert "file" not in progress.bar_style()


def test_a_run_whose_output_goes_to_files_has_no_carriage_return(tmp_path: Path) -> None:
    data = ["--data", "synthetic", "--size", "20", "--limit-train", "64"]
    words = ["--recipe", "compact", *data, "--epochs", "2", "--device", "cpu", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "training", "train", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=err, check=True)
    shown, bar = (tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()
    assert b"\r" not in shown + bar
    assert b"epoch 2/2: loss" in shown
    assert bar.splitlines()[0] == b"0%"
    assert bar.splitlines()[-1].startswith(b"100%")
