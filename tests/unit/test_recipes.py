"""Recipes: impossible ones are refused when they are made; epochs are shared among stages in proportion."""

from typing import Any

import pytest

from training import networks
from training.recipes import RECIPES, Recipe, Stage, learning_rate_factor, named_recipe

STAGE = Stage(epochs=1, batch_size=32, learning_rate=0.1)
THREE_STAGES = Recipe(network="compact", stages=(Stage(6, 64, 0.1), Stage(3, 128, 0.05), Stage(1, 256, 0.01)))


def epochs(recipe: Recipe) -> list[int]:
    return [stage.epochs for stage in recipe.stages]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"epochs": 0}, "at least 1 epoch, not 0"),
        ({"batch_size": 1}, "a batch of at least 2, not 1"),
        ({"learning_rate": 0.0}, r"learning rate must be positive, not 0\.0"),
        ({"learning_rate": float("nan")}, "learning rate must be positive, not nan"),
    ],
)
def test_an_impossible_stage_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Stage(**{"epochs": 1, "batch_size": 32, "learning_rate": 0.1} | values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; there are: constant, one-cycle"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), not 1\.0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), not -0\.1"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\)"),
        ({"weight_decay": -1e-4}, "weight_decay must not be negative"),
        ({"crop_padding": -1}, "crop_padding must not be negative, it is -1"),
        ({"cutout": -8}, "cutout must not be negative, it is -8"),
        ({"validation_share": 0.0}, r"validation_share must be in \(0, 1\), not 0\.0"),
        ({"validation_share": 1.0}, r"validation_share must be in \(0, 1\), not 1\.0"),
    ],
)
def test_an_impossible_recipe_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Recipe(**{"network": "compact", "stages": (STAGE,)} | values)


def test_an_unknown_recipe_is_refused_with_the_valid_names() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'alexnet'; there are: alexnet-bn, compact"):
        named_recipe("alexnet")


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_is_one_that_its_network_can_follow(name: str) -> None:
    recipe = named_recipe(name)
    assert networks.build(recipe.network, classes=10, **recipe.arguments)


def test_the_epochs_of_a_recipe_are_those_of_its_stages() -> None:
    assert THREE_STAGES.epochs == 10


def test_every_epoch_has_its_stage_and_its_place_in_it() -> None:
    first, second, third = THREE_STAGES.stages
    found = [THREE_STAGES.stage_at(epoch) for epoch in (0, 5, 6, 8, 9)]
    assert found == [(first, 0), (first, 5), (second, 0), (second, 2), (third, 0)]


@pytest.mark.parametrize(
    ("wanted", "shared"), [(10, [6, 3, 1]), (20, [12, 6, 2]), (100, [60, 30, 10]), (4, [2, 1, 1]), (3, [1, 1, 1])]
)
def test_epochs_are_shared_among_stages_in_proportion(wanted: int, shared: list[int]) -> None:
    assert epochs(THREE_STAGES.with_epochs(wanted)) == shared


@pytest.mark.parametrize("lengths", [(6, 3, 1), (1, 1, 50), (50, 1, 1), (1, 50, 1)])
def test_every_stage_keeps_an_epoch_and_none_is_lost(lengths: tuple[int, int, int]) -> None:
    recipe = Recipe(network="compact", stages=tuple(Stage(length, 32, 0.1) for length in lengths))
    for wanted in range(3, 60):
        shared = epochs(recipe.with_epochs(wanted))
        assert sum(shared) == wanted
        assert min(shared) >= 1


def test_fewer_epochs_than_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="2 epochs are too few: the recipe needs 3 or more"):
        THREE_STAGES.with_epochs(2)


def test_other_epochs_change_nothing_else() -> None:
    changed = THREE_STAGES.with_epochs(20)
    assert [(s.batch_size, s.learning_rate) for s in changed.stages] == [(64, 0.1), (128, 0.05), (256, 0.01)]
    assert changed.with_epochs(10) == THREE_STAGES


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.1), (0.125, 0.55), (0.25, 1.0), (0.625, 0.505), (1.0, 0.01)])
def test_one_cycle_rises_for_a_quarter_and_falls_to_a_hundredth(progress: float, factor: float) -> None:
    assert learning_rate_factor("one-cycle", progress) == pytest.approx(factor)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_constant_schedule_leaves_the_rate_alone(progress: float) -> None:
    assert learning_rate_factor("constant", progress) == 1.0
