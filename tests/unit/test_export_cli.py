"""python -m export: a bundle and status 0, or a reason, status 1 and nothing written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export import __main__ as command
from export import bundle, parity
from export.bundle import Outputs
from training import checkpoint
from training.loop import Result
from training.pixels import Pixels


def test_a_checkpoint_becomes_a_bundle_and_a_stored_model(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command.main([str(tiny_run.path), "--out", str(tmp_path / "bundle"), "--store", "alexnet"])
    written = bundle.read(tmp_path / "bundle")
    assert status == 0
    assert f"alexnet:{written.version}" in capsys.readouterr().out
    assert written.load(bundle.WEIGHTS) == tiny_run.path.read_bytes()


def test_a_note_stands_in_the_card(tiny_run: Result, tmp_path: Path) -> None:
    note = "The pictures were taken in May."
    assert command.main([str(tiny_run.path), "--out", str(tmp_path / "bundle"), "--note", note]) == 0
    assert note in bundle.read(tmp_path / "bundle").load("README.md").decode().splitlines()


def test_a_failed_gate_prints_its_table_and_writes_nothing(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeros(images: Pixels) -> Outputs:
        return Outputs(*np.zeros((2, len(images), 10), np.float32))

    monkeypatch.setattr(parity, "onnx_runner", lambda _: zeros)
    assert command.main([str(tiny_run.path), "--out", str(tmp_path / "bundle")]) == 1
    assert "FAIL" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x10" + bytes(7) + b"{}"])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert command.main([str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "bundle")]) == 1
    assert "x.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_an_unfinished_run_is_refused(tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint.load(tiny_run.path)
    unfinished = replace(source.metadata, accuracy={"validation": 0.5})
    checkpoint.save(tmp_path / "x.safetensors", unfinished, source.weights)
    assert command.main([str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "bundle")]) == 1
    assert "--resume" in capsys.readouterr().err


def test_pictures_of_other_classes_are_refused(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_run.path), "--out", str(tmp_path / "bundle"), "--data-dir", str(tmp_path)]
    assert command.main(arguments) == 1
    assert "train is missing" in capsys.readouterr().err
