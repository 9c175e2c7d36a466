"""python -m export: a bundle and status 0, or a reason, status 1 and nothing written."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from export import __main__ as command
from export import bundle, runtimes
from export.bundle import Bundle, Outputs
from export.commands import results
from tests.unit.bundles import little
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


def test_a_bundle_that_was_stored_before_becomes_the_latest_again(tmp_path: Path, own_store: Path) -> None:
    first, second = (little(tmp_path / str(share), accuracy={"test": share}) for share in (0.5, 0.6))
    for written in (first, second, first):
        results.keep(Console(), written, "pets")
    assert (own_store / "pets" / "latest").read_text() == first.version


@pytest.mark.parametrize(
    ("name", "reason"), [("pets:1", "has a version"), ("pe ts", "not a valid BentoML tag"), ("pets:", "trailing ':'")]
)
def test_a_name_that_the_store_does_not_take_is_refused_before_any_work(
    tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        command.main(["nothing.safetensors", "--out", str(tmp_path / "bundle"), "--store", name])
    assert exit_.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_bundle_tells_temperature_threshold_and_calibration_of_its_checkpoint(
    tiny_run: Result, tiny_bundle: Bundle
) -> None:
    metadata, document = tiny_run.metadata, tiny_bundle.document
    figures = metadata.measures["calibration"]
    assert document["temperature"] == metadata.temperature != 1.0
    assert document["energy_threshold"] == metadata.energy_threshold == tiny_bundle.energy_threshold
    assert document["calibration_error"] == {"before": figures["error_before"], "after": figures["error_after"]}


def test_a_bundle_has_every_picture_that_its_card_shows(tiny_run: Result, tiny_bundle: Bundle) -> None:
    shown = re.findall(r"\]\((.*\.png)\)", tiny_bundle.load("README.md").decode())
    assert shown == ["confusion.png", "reliability.png", "curves.png"]
    for name in shown:
        assert tiny_bundle.load(name) == (tiny_run.path.parent / name).read_bytes()


def test_a_checkpoint_that_was_never_calibrated_is_exported_without_figures(tiny_run: Result, tmp_path: Path) -> None:
    source = checkpoint.load(tiny_run.path)
    never = replace(source.metadata, temperature=1.0, energy_threshold=None, measures={})
    checkpoint.save(tmp_path / "x.safetensors", never, source.weights)
    assert command.main([str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "bundle")]) == 0
    written = bundle.read(tmp_path / "bundle")
    assert (written.document["energy_threshold"], written.document["calibration_error"]) == (None, None)
    assert {"confusion.png", "reliability.png"}.isdisjoint(written.document["files"])
    assert "## Calibration" not in written.load("README.md").decode()


def test_a_note_stands_in_the_card(tiny_run: Result, tmp_path: Path) -> None:
    note = "The pictures were taken in May."
    assert command.main([str(tiny_run.path), "--out", str(tmp_path / "bundle"), "--note", note]) == 0
    assert note in bundle.read(tmp_path / "bundle").load("README.md").decode().splitlines()


def test_a_failed_gate_prints_its_table_and_writes_nothing(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeros(images: Pixels) -> Outputs:
        return Outputs(*np.zeros((2, len(images), 10), np.float32))

    monkeypatch.setattr(runtimes, "onnx_runner", lambda *_: zeros)
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


def test_a_trial_is_refused_with_what_it_is(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoint.load(tiny_run.path)
    recipe = source.metadata.recipe | {"test_images": 0}
    trial = replace(source.metadata, accuracy={"validation": 0.5}, recipe=recipe)
    checkpoint.save(tmp_path / "x.safetensors", trial, source.weights)
    assert command.main([str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "bundle")]) == 1
    assert (
        "is of a trial, which leaves the test pictures unread: train without test_images=0" in capsys.readouterr().err
    )


def test_pictures_of_other_classes_are_refused(
    tiny_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_run.path), "--out", str(tmp_path / "bundle"), "--data-dir", str(tmp_path)]
    assert command.main(arguments) == 1
    assert "train is missing" in capsys.readouterr().err
