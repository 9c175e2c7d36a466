"""Schedules: ours and the documents', the latter epoch by epoch as torch.optim.lr_scheduler has them."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from training import schedule
from training.recipe import Recipe, Stage

EPOCHS = 60


def recipe(name: str, epochs: int = EPOCHS, **values: Any) -> Recipe:
    return Recipe(network="compact", stages=(Stage(epochs, 32, 0.1),), schedule=name, **values)  # type: ignore[arg-type]


def factors(chosen: Recipe, accuracies: Sequence[float] = ()) -> list[float]:
    """The factor of every epoch of the one stage."""
    epochs = chosen.epochs
    return [schedule.factor(chosen, epochs, float(epoch), accuracies[:epoch]) for epoch in range(epochs)]


def sgd() -> torch.optim.SGD:
    """An optimiser with a rate of 1."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def torch_factors(kind: type[lr_scheduler.LRScheduler], epochs: int = EPOCHS, **values: Any) -> list[float]:
    """The factor of every epoch with one of torch's schedules."""
    optimizer, found = sgd(), []
    torch_schedule = kind(optimizer, **values)
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torch_schedule.step()
    return found


def torch_plateau(accuracies: Sequence[float], **values: Any) -> list[float]:
    """The factor of every epoch with torch's ReduceLROnPlateau, which would ignore the very smallest changes."""
    optimizer, found = sgd(), []
    torch_schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", eps=0.0, **values)
    for accuracy in accuracies:
        found.append(optimizer.param_groups[0]["lr"])
        torch_schedule.step(accuracy)
    return found


def climb(seed: int) -> list[float]:
    """Accuracies that rise ever more slowly under noise, with equals among them."""
    generator = random.Random(seed)  # noqa: S311
    noise = generator.choice((0.001, 0.01, 0.1))
    return [round(0.9 - 0.6 / (epoch + 1) + noise * generator.gauss(0, 1), 3) for epoch in range(EPOCHS)]


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.1), (0.125, 0.55), (0.25, 1.0), (0.625, 0.505), (1.0, 0.01)])
def test_one_cycle_rises_for_a_quarter_and_falls_to_a_hundredth(progress: float, factor: float) -> None:
    assert schedule.factor(recipe("one-cycle"), EPOCHS, progress * EPOCHS, []) == pytest.approx(factor)


@pytest.mark.parametrize("epochs", [0.0, 12.5, 59.9])
def test_the_constant_schedule_leaves_the_rate_alone(epochs: float) -> None:
    assert schedule.factor(recipe("constant"), EPOCHS, epochs, []) == 1.0


@pytest.mark.parametrize(("every", "factor"), [(25, 0.1), (1, 0.9), (7, 0.5), (100, 0.1)])
def test_step_is_torch_s_step_lr(every: int, factor: float) -> None:
    ours = factors(recipe("step", decay_every=every, decay_factor=factor))
    assert ours == pytest.approx(torch_factors(lr_scheduler.StepLR, step_size=every, gamma=factor))


@pytest.mark.parametrize(("at", "factor"), [((30, 80), 0.1), ((5, 20, 40), 0.5), ((1,), 0.5), ((59,), 0.1)])
def test_multi_step_is_torch_s_multi_step_lr(at: tuple[int, ...], factor: float) -> None:
    ours = factors(recipe("multi-step", decay_at=at, decay_factor=factor))
    assert ours == pytest.approx(torch_factors(lr_scheduler.MultiStepLR, milestones=list(at), gamma=factor))


@pytest.mark.parametrize("period", [60, 100, 20, 7])
def test_cosine_is_torch_s_cosine_annealing_also_beyond_its_period(period: int) -> None:
    ours = factors(recipe("cosine", cosine_epochs=period))
    expected = torch_factors(lr_scheduler.CosineAnnealingLR, T_max=period)
    assert ours == pytest.approx(expected, abs=1e-9)


def test_cosine_without_a_period_falls_over_the_whole_stage() -> None:
    assert factors(recipe("cosine")) == factors(recipe("cosine", cosine_epochs=EPOCHS))
    assert schedule.factor(recipe("cosine"), EPOCHS, float(EPOCHS), []) == pytest.approx(0.0)


def test_cosine_and_one_cycle_move_within_an_epoch() -> None:
    for name in ("cosine", "one-cycle"):
        found = {schedule.factor(recipe(name), EPOCHS, 30 + share / 4, []) for share in range(4)}
        assert len(found) == 4


@pytest.mark.parametrize(("name", "moment"), [("step", {"decay_every": 2}), ("multi-step", {"decay_at": [2]})])
def test_step_and_multi_step_hold_within_an_epoch(name: str, moment: dict[str, Any]) -> None:
    chosen = recipe(name, **moment)
    assert schedule.factor(chosen, EPOCHS, 1.99, []) == 1.0
    assert schedule.factor(chosen, EPOCHS, 2.0, []) == schedule.factor(chosen, EPOCHS, 2.99, []) == 0.1


@pytest.mark.parametrize("mode", ["abs", "rel"])
@pytest.mark.parametrize("patience", [0, 1, 5, 10])
@pytest.mark.parametrize("threshold", [0.0, 1e-4, 1e-2])
def test_plateau_is_torch_s_reduce_lr_on_plateau(mode: str, patience: int, threshold: float) -> None:
    values: dict[str, Any] = {"patience": patience, "threshold": threshold, "threshold_mode": mode}
    for seed in range(20):
        ours = factors(recipe("plateau", decay_factor=0.5, **values), climb(seed))
        assert ours == torch_plateau(climb(seed), factor=0.5, **values)


def test_plateau_bears_as_many_epochs_without_progress_as_its_patience() -> None:
    chosen = recipe("plateau", epochs=8, decay_factor=0.5, patience=2)
    assert factors(chosen, [0.5] * 8) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(("mode", "accuracy", "factor"), [("abs", 0.55, 0.5), ("rel", 0.55, 1.0)])
def test_progress_is_a_step_or_a_share_of_the_best(mode: str, accuracy: float, factor: float) -> None:
    chosen = recipe("plateau", decay_factor=0.5, patience=0, threshold=0.0625, threshold_mode=mode)
    assert schedule.factor(chosen, EPOCHS, 2.0, [0.5, accuracy]) == factor
