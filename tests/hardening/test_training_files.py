"""Checkpoints and resume states that are damaged, foreign, newer or of another run: refused by name."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.unit.runs import METADATA, RECIPE, quick_train, saved_checkpoint, weights
from training import checkpoint, resume, tensorfile
from training.checkpoint import CheckpointError
from training.resume import ResumeError

Change = Callable[[dict[str, Any], dict[str, Any]], object]  # of tensors and description, in place


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return saved_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    quick_train(run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to damage."""
    return shutil.copytree(finished, tmp_path / "run")


def flip(path: Path, position: int) -> None:
    """Flip one bit of the byte at `position`."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, key: str, change: Change) -> None:
    tensors, description = tensorfile.decode(path.read_bytes(), key)
    change(tensors, description)
    path.write_bytes(tensorfile.encode(tensors, key, description))


@pytest.mark.parametrize("kept", [0, 7, 8, 200, -1])
def test_a_checkpoint_cut_short_is_refused(kept: int, good: Path) -> None:
    good.write_bytes(good.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=f"{good} is not a checkpoint: damaged"):
        checkpoint.load(good)


def test_a_checkpoint_with_bytes_behind_it_is_refused(good: Path) -> None:
    good.write_bytes(good.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(good)


@pytest.mark.parametrize("position", [0, 8, 9, 40_000, -1_000_000, -1])
def test_a_checkpoint_with_one_flipped_bit_is_refused(position: int, good: Path) -> None:
    flip(good, position)
    with pytest.raises(CheckpointError, match=str(good)):
        checkpoint.load(good)


@pytest.mark.parametrize("text", [b"frog", b"0.25", b": 20,"], ids=["class", "normalisation", "size"])
def test_a_flipped_bit_in_the_description_is_noticed(text: bytes, good: Path) -> None:
    flip(good, good.read_bytes().index(text) + 2)
    with pytest.raises(CheckpointError, match=str(good)):
        checkpoint.load(good)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(100), b"\x80\x04.", b"{}", bytes(64)])
def test_a_file_of_another_kind_is_refused(content: bytes, good: Path) -> None:
    good.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{good} is not a checkpoint"):
        checkpoint.load(good)


@pytest.mark.parametrize(
    "header",
    [None, {"format": "pt"}, {"alexnet": "no JSON"}, {"alexnet": "[]"}, {"alexnet": "[" * 100_000}],
    ids=["no header", "PyTorch", "no JSON", "list", "bottomless JSON"],
)
def test_safetensors_of_another_project_are_refused(header: dict[str, str] | None, good: Path) -> None:
    good.write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}, header))
    with pytest.raises(CheckpointError, match=f"{good} is not a checkpoint"):
        checkpoint.load(good)


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_another_format_version_is_refused_with_the_way_out(version: object, good: Path) -> None:
    rewrite(good, "alexnet", lambda _, description: description.update(format_version=version))
    with pytest.raises(CheckpointError, match=f"format {version}, this version reads formats 1 and 2; use the version"):
        checkpoint.load(good)


def test_an_unknown_or_missing_entry_is_named(good: Path) -> None:
    description = {name: value for name, value in asdict(METADATA).items() if name != "size"} | {"extra": 1}
    good.write_bytes(tensorfile.encode(weights(), "alexnet", description))
    with pytest.raises(CheckpointError, match="unknown or missing in its description: extra, size"):
        checkpoint.load(good)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_checkpoint_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "missing" if kind == "missing" else tmp_path
    with pytest.raises(CheckpointError, match=f"{path} cannot be read: "):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 1}, "data, seed"),
        ({"recipe": RECIPE.changed({"train_images": 64})}, "data, recipe"),
        ({"recipe": RECIPE.with_epochs(4)}, "recipe"),
    ],
)
def test_the_state_of_a_run_with_other_settings_is_refused(options: dict[str, Any], named: str, run: Path) -> None:
    with pytest.raises(ResumeError, match=f"belongs to a run with other settings: {named}; give the same ones"):
        quick_train(run, go_on=True, **options)


def test_a_state_from_before_a_recipe_had_some_field_goes_on(run: Path) -> None:
    rewrite(
        resume.state_path(run), resume.HEADER_KEY, lambda _, description: description["identity"]["recipe"].pop("ema")
    )
    assert len(quick_train(run, go_on=True).metadata.history) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda _, description: description.pop("identity"),
        lambda _, description: description.pop("history"),
        lambda tensors, _: tensors.pop("network.0.0.weight"),
        lambda tensors, _: tensors.update({"network.0.0.bias": torch.zeros(3)}),
        lambda tensors, _: tensors.update({"optimizer.99.momentum_buffer": torch.zeros(3)}),
    ],
    ids=["no identity", "no history", "tensor missing", "tensor of another shape", "unknown parameter"],
)
def test_a_state_that_does_not_fit_is_refused(change: Change, run: Path) -> None:
    rewrite(resume.state_path(run), resume.HEADER_KEY, change)
    with pytest.raises(ResumeError, match=str(resume.state_path(run))):
        quick_train(run, go_on=True)


@pytest.mark.parametrize("position", [3, 9, -1])
def test_a_state_with_one_flipped_bit_is_refused(position: int, run: Path) -> None:
    flip(resume.state_path(run), position)
    with pytest.raises(ResumeError, match=str(resume.state_path(run))):
        quick_train(run, go_on=True)


def test_a_state_cut_short_is_refused_with_the_way_out(run: Path) -> None:
    path = resume.state_path(run)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResumeError, match=r"cannot be resumed from: damaged.*start again with another --out"):
        quick_train(run, go_on=True)
