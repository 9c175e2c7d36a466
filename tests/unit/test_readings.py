"""Reading the loss waits for the device, so an epoch is read seldom; what is read covers the whole of it."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.trainees import PLAIN, build, run_epochs, split
from training import epoch
from training.epoch import STEPS_BETWEEN_READINGS
from training.loop import Result
from training.recipe import Recipe, Stage

# 95 pictures in batches of 2: 47 steps, and a single picture is left out.
PICTURES, STEPS = 95, 47
TINY_BATCHES = PLAIN.changed({"stages": [Stage(1, 2, 0.01)]})
EVERYTHING = TINY_BATCHES.changed(
    {
        "optimizer": "nesterov",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "label_smoothing": 0.1,
        "schedule": "one-cycle",
        "flip": True,
        "crop_padding": 2,
        "cutout": 2,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.1,
        "fancy_pca": 0.1,
    }
)
NEEDS_THE_VALUE = ("item", "cpu", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def readings(recipe: Recipe = TINY_BATCHES) -> tuple[dict[str, Any], list[tuple[float, float, float]]]:
    """The entry of an epoch and its readings: share of the epoch, loss and accuracy of each stretch."""
    (entry,) = run_epochs(build(recipe), 1, split(PICTURES))
    return entry, entry["readings"]


class Waits(TorchDispatchMode):
    """Notes every operation that must know values: of reading a tensor, or of a result whose shape they decide."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_number = func is torch.ops.aten.index.Tensor and all(i is None or i.dtype == torch.int64 for i in args[1])
        if WAITING & set(func.tags) and not by_number:
            self.noted.append(str(func))
        return func(*args, **kwargs or {})


def test_an_epoch_is_read_after_its_first_step_then_seldom_and_at_its_end() -> None:
    _, found = readings()
    steps = [round(share * PICTURES / 2) for share, _, _ in found]
    assert steps == [1, 1 + STEPS_BETWEEN_READINGS, 1 + 2 * STEPS_BETWEEN_READINGS, STEPS]


def test_the_last_reading_is_at_the_end_but_for_a_picture_left_out() -> None:
    assert readings()[1][-1][0] == pytest.approx(94 / 95)


@pytest.mark.parametrize(("measure", "column"), [("train_loss", 1), ("train_accuracy", 2)])
def test_the_stretches_average_to_the_epoch(measure: str, column: int) -> None:
    entry, found = readings()
    ends = [0.0, *(reading[0] for reading in found)]
    lengths = [end - start for start, end in pairwise(ends)]
    whole = sum(length * reading[column] for length, reading in zip(lengths, found, strict=True))
    assert whole / ends[-1] == pytest.approx(entry[measure], rel=1e-4)


def test_metrics_keep_the_readings_of_every_epoch(quick_run: Result) -> None:
    lines = [json.loads(line) for line in (quick_run.path.parent / "metrics.jsonl").read_text().splitlines()]
    shares = [[share for share, _, _ in line["readings"]] for line in lines]
    assert shares == [[pytest.approx(1 / 3), 1.0], [0.5, 1.0], [0.5, 1.0]]


@pytest.mark.parametrize("recipe", [TINY_BATCHES, EVERYTHING], ids=["plain", "everything"])
def test_the_host_reads_a_tensor_as_often_as_it_reads_the_loss(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA each of these calls would wait until the device has finished everything before it."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(torch.Tensor, name)

        def method(self: torch.Tensor, *values: Any, **options: Any) -> Any:
            calls.append(name)
            return original(self, *values, **options)

        return method

    fit = epoch._fit

    def watched(*values: Any) -> Any:
        with monkeypatch.context() as patch:
            for name in NEEDS_THE_VALUE:
                patch.setattr(torch.Tensor, name, noted(name))
            return fit(*values)

    monkeypatch.setattr(epoch, "_fit", watched)
    _, found = readings(recipe)
    assert len(calls) == len(found) == 4


@pytest.mark.parametrize("recipe", [TINY_BATCHES, EVERYTHING], ids=["plain", "everything"])
def test_no_step_needs_a_value_that_only_the_device_knows(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for what PyTorch itself would wait for: a choice by a mask, say."""
    take_step, waits = epoch.take_step, Waits()

    def watched(*values: Any) -> Any:
        with waits:
            return take_step(*values)

    monkeypatch.setattr(epoch, "take_step", watched)
    readings(recipe)
    assert waits.noted == []


@pytest.mark.parametrize("read", [bool, int, float, torch.Tensor.item, torch.nonzero, lambda one: one[one > 0]])
def test_what_would_wait_is_noticed(read: Callable[[torch.Tensor], object]) -> None:
    with Waits() as waits:
        read(torch.ones(()))
    assert waits.noted
