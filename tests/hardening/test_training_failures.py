"""Full disks, interruptions and exploding losses: what was good before is good afterwards."""

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from torch import nn

from tests.unit.runs import quick_train, undrawn
from training import checkpoint, networks
from training.epoch import Diverged
from training.files import write_atomically
from training.loop import Result
from training.recipe import Recipe, Stage

STABLE, EXPLOSIVE = Stage(1, 32, 0.05), Stage(1, 32, 1e30)


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return quick_train(tmp_path_factory.mktemp("runs") / "uninterrupted")


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ctrl_c(_: int) -> None:
    raise KeyboardInterrupt


def full_from(number: int) -> Callable[[int], None]:
    """An fsync for a disk that is full from call `number` on."""
    calls, fsync = count(1), os.fsync
    return lambda descriptor: (fsync if next(calls) < number else full_disk)(descriptor)


@pytest.mark.parametrize(("failure", "error"), [(full_disk, OSError), (ctrl_c, KeyboardInterrupt)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    failure: Callable[[int], None], error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failure)
    with pytest.raises(error):
        write_atomically(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


# Two calls a file. Epoch 1 writes checkpoint, stage, state and metrics; epoch 2 is no stage's last; epoch 3 is no best.
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(3, id="stage of epoch 1"),
        pytest.param(7, id="metrics of epoch 1"),
        pytest.param(11, id="state of epoch 2"),
        pytest.param(17, id="state of epoch 3"),
        pytest.param(33, id="finished checkpoint"),
    ],
)
def test_a_disk_that_fills_up_during_a_run_costs_no_finished_epoch(
    number: int, uninterrupted: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_from(number))
        with pytest.raises(OSError, match="No space left"):
            quick_train(tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".*"))
    resumed = quick_train(tmp_path / "run", go_on=True)
    assert resumed.metadata.weights_sha256 == uninterrupted.metadata.weights_sha256


def test_an_exploding_loss_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(network="compact", arguments={"batch_norm": False}, stages=(STABLE, EXPLOSIVE))
    with pytest.raises(Diverged, match=r"the loss became nan in epoch 2.*lower the learning rate"):
        quick_train(tmp_path, recipe)
    kept = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert [epoch["epoch"] for epoch in kept.metadata.history] == [1]
    assert all(tensor.isfinite().all() for tensor in kept.weights.values())


def test_a_loss_that_explodes_in_the_last_step_is_found_on_the_validation_pictures(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the loss became .* in epoch 1"):
        quick_train(tmp_path, Recipe(network="compact", stages=(Stage(1, 96, 1e30),)))


def test_a_network_that_gives_no_number_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**sizes: int) -> nn.Module:
        last = nn.Linear(20 * 20 * 3, sizes["classes"])
        nn.init.constant_(last.weight, float("nan"))
        return nn.Sequential(nn.Flatten(), last)

    monkeypatch.setitem(networks.NETWORKS, "broken", broken)
    with pytest.raises(Diverged, match="the loss became nan in epoch 1 by step 1"):
        quick_train(tmp_path / "run", Recipe(network="broken", stages=(STABLE,)))
    assert not list((tmp_path / "run").rglob("*.safetensors"))
