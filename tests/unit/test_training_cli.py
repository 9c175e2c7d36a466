"""The command line of training, in process: what it prints and what status it ends with."""

from pathlib import Path

import pytest

from tests.unit.runs import interrupt_at_batch, one_thread
from training import checkpoint
from training.__main__ import main
from training.recipes import RECIPES

Captured = pytest.CaptureFixture[str]


@one_thread()
def train(out: Path, *options: str) -> int:
    """Train `compact` on 64 small pictures, with further options."""
    quick = ["--recipe", "compact", "--data", "synthetic", "--size", "20", "--limit-train", "64", "--epochs", "1"]
    return main(["train", *quick, "--device", "cpu", "--out", str(out), *options])


def refused(out: Path, capsys: Captured, *options: str) -> str:
    """The message that training with `options` ends with, before it made anything."""
    assert train(out, *options) == 1
    assert not out.exists()
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_run_prints_data_device_accuracy_and_the_path(tmp_path: Path, capsys: Captured) -> None:
    assert train(tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "synthetic: 2,000 training pictures, 500 test pictures, 10 classes; on cpu" in printed
    assert "epoch 1/1: loss" in printed
    assert f"checkpoint: {tmp_path / 'run' / 'checkpoint.safetensors'}" in printed
    accuracy = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors").metadata.accuracy
    assert f"{accuracy['test']:.2%} (500 pictures)" in printed


def test_options_reach_the_run(tmp_path: Path) -> None:
    assert train(tmp_path, "--epochs", "2", "--seed", "3", "--size", "24", "--limit-train", "32") == 0
    metadata = checkpoint.load(tmp_path / "checkpoint.safetensors").metadata
    assert (len(metadata.history), metadata.seed, metadata.size, metadata.data["fit"]) == (2, 3, 24, 32)


def test_ctrl_c_ends_with_130_and_names_the_way_on(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at_batch(2, patch)
        assert train(tmp_path, "--epochs", "2") == 130
    assert f"safe in {tmp_path}: the same command with --resume goes on" in capsys.readouterr().out
    assert train(tmp_path, "--epochs", "2", "--resume") == 0
    assert "epoch 1/2" not in capsys.readouterr().out


def test_help_lists_the_recipes(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert ", ".join(RECIPES) in " ".join(capsys.readouterr().out.split())


def test_an_unknown_recipe_is_refused_with_the_valid_names(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--recipe", "vgg")
    assert "unknown recipe 'vgg'; there are: alexnet-bn, compact" in message


def test_an_unknown_device_is_refused_with_the_valid_names(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--device", "tpu")
    assert "unknown device 'tpu'; there are: auto, cuda, mps, cpu" in message


def test_a_device_that_is_not_here_is_refused_with_those_that_are(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    message = refused(tmp_path / "run", capsys, "--device", "cuda")
    assert "device 'cuda' is not available here; available: cpu (or auto)" in message


def test_pictures_from_files_need_their_folder(tmp_path: Path, capsys: Captured) -> None:
    assert "--data folder needs --data-dir DIR" in refused(tmp_path / "run", capsys, "--data", "folder")


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_impossible_epochs_are_refused(epochs: str, tmp_path: Path, capsys: Captured) -> None:
    assert f"{epochs} epochs are too few" in refused(tmp_path / "run", capsys, "--epochs", epochs)


def test_pictures_too_small_for_the_network_are_refused(tmp_path: Path, capsys: Captured) -> None:
    assert "8x8 are too small for this network" in refused(tmp_path / "run", capsys, "--size", "8")


def test_resuming_nothing_is_refused(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--resume")
    assert f"nothing to resume in {tmp_path / 'run'}" in message
    assert "start without --resume" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--limit-train", "0"], "must be at least 1, not 0"),
        (["--size", "-3"], "must be at least 1, not -3"),
        (["--size", "big"], "invalid"),
        (["--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["--speed", "9"], "unrecognized arguments: --speed"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    options: list[str], reason: str, tmp_path: Path, capsys: Captured
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train(tmp_path, *options)
    assert reason in capsys.readouterr().err


def test_a_command_is_needed(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "required: COMMAND" in capsys.readouterr().err
