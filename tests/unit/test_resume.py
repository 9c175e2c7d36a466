"""Resuming: a run that was stopped and goes on ends where an uninterrupted run ends, bit by bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.runs import quick_train, stop_at_batch
from training import checkpoint, epoch, evaluate, resume
from training.loop import Result

CLOCK = {"seconds", "images_per_second"}


def last_epoch(run: Path) -> dict[str, torch.Tensor]:
    """Network and optimiser as they were after the last epoch, the best or not."""
    return dict(load_file(resume.state_path(run)))


def measured(result: Result) -> list[dict[str, float]]:
    """The history but for what the clock said."""
    return [{name: entry[name] for name in entry.keys() - CLOCK} for entry in result.metadata.history]


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def is_learned(name: str, tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and "running" not in name


def assert_same_end(resumed: Result, uninterrupted: Result) -> None:
    ends, expected = last_epoch(resumed.path.parent), last_epoch(uninterrupted.path.parent)
    assert ends.keys() == expected.keys()
    assert all(torch.equal(ends[name], expected[name]) for name in expected)
    assert resumed.metadata.weights_sha256 == uninterrupted.metadata.weights_sha256
    for name in ("accuracy", "temperature", "energy_threshold", "measures"):
        assert getattr(resumed.metadata, name) == getattr(uninterrupted.metadata, name)
    assert measured(resumed) == measured(uninterrupted)


@pytest.mark.parametrize(
    ("batch", "finished"),
    [
        pytest.param(4, 1, id="after epoch 1, at a new stage"),
        pytest.param(5, 1, id="in the middle of epoch 2"),
        pytest.param(6, 2, id="after epoch 2"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_weights(
    batch: int, finished: int, quick_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(batch, tmp_path, monkeypatch)
    assert len(lines(tmp_path)) == finished
    assert_same_end(quick_train(tmp_path, go_on=True), quick_run)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3]


def test_a_run_stopped_between_checkpoint_and_state_repeats_the_epoch(
    quick_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_save = resume.save

    def second_time_stopped(run: Path, *rest: object) -> None:
        if resume.state_path(run).exists():
            raise KeyboardInterrupt
        first_save(run, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save", second_time_stopped)
        with pytest.raises(KeyboardInterrupt):
            quick_train(tmp_path)
    assert_same_end(quick_train(tmp_path, go_on=True), quick_run)


def test_a_finished_run_neither_trains_nor_reads_the_test_pictures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = quick_train(tmp_path)
    before = result.path.read_bytes()

    def forbidden(*_: object) -> None:
        raise AssertionError("the run was finished")

    monkeypatch.setattr(epoch, "augment", forbidden)
    monkeypatch.setattr(epoch, "predict", forbidden)
    monkeypatch.setattr(evaluate, "predict", forbidden)
    assert quick_train(tmp_path, go_on=True).metadata == result.metadata
    assert result.path.read_bytes() == before


def test_the_state_holds_the_network_and_a_momentum_for_every_parameter(quick_run: Result) -> None:
    names = last_epoch(quick_run.path.parent)
    parameters = [name for name, tensor in names.items() if name.startswith("network.") and is_learned(name, tensor)]
    assert len([name for name in names if name.endswith(".momentum_buffer")]) == len(parameters)


def test_a_run_killed_before_its_first_state_starts_again(quick_run: Result, tmp_path: Path) -> None:
    source = checkpoint.load(quick_run.path)
    unfinished = replace(source.metadata, accuracy={"validation": 0.1})
    checkpoint.save(tmp_path / "checkpoint.safetensors", unfinished, source.weights)
    assert quick_train(tmp_path, go_on=True).metadata.weights_sha256 == quick_run.metadata.weights_sha256
