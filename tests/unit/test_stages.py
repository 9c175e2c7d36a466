"""Every finished stage leaves its weights in RUN/stages, under a name that tells its epochs and its rate."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.runs import stop_at_batch
from training import checkpoint, resume, run_folder
from training.loop import Result
from training.recipe import Stage

FIRST, SECOND = "stage-1-epochs-1-rate-0.05.safetensors", "stage-2-epochs-2-rate-0.02.safetensors"


def left(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "stages").iterdir())


def is_last_epoch(run: Path, name: str) -> bool:
    """Whether a stage's weights are those of the last epoch of the run."""
    state, found = load_file(resume.state_path(run)), checkpoint.load(run / "stages" / name).weights
    return all(torch.equal(tensor, state[f"network.{key}"]) for key, tensor in found.items())


def test_every_stage_leaves_a_checkpoint_named_after_its_epochs_and_its_rate(quick_run: Result) -> None:
    assert left(quick_run.path.parent) == [FIRST, SECOND]


def test_a_small_rate_is_named_by_its_power_of_ten() -> None:
    path = run_folder.stage_path(Path("run"), 0, Stage(2000, 256, 2e-5))
    assert path == Path("run/stages/stage-1-epochs-2000-rate-2e-05.safetensors")


def test_a_stage_leaves_the_weights_of_its_last_epoch(
    quick_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(4, tmp_path, monkeypatch)
    assert is_last_epoch(tmp_path, FIRST)
    assert is_last_epoch(quick_run.path.parent, SECOND)


def test_a_later_stage_leaves_the_earlier_ones_alone(quick_run: Result) -> None:
    assert not is_last_epoch(quick_run.path.parent, FIRST)


def test_a_stage_that_is_not_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at_batch(6, tmp_path, monkeypatch)
    assert left(tmp_path) == [FIRST]


@pytest.mark.parametrize(("name", "epochs"), [(FIRST, 1), (SECOND, 3)])
def test_a_stage_is_described_as_it_was_at_its_end(name: str, epochs: int, quick_run: Result) -> None:
    history = quick_run.metadata.history[:epochs]
    found = checkpoint.load(quick_run.path.parent / "stages" / name).metadata
    assert found.history == history
    assert found.accuracy == {"validation": history[-1]["validation_accuracy"]}
