"""Recipes in other epochs, with other fields and through JSON: what moves with them, and what stays."""

import json
from typing import Any

import pytest

from training.recipe import Recipe, RecipeError, Stage, from_mapping
from training.recipes import RECIPES, named_recipe

THREE_STAGES = Recipe(network="compact", stages=(Stage(6, 64, 0.1), Stage(3, 128, 0.05), Stage(1, 256, 0.01)))
PLAIN: dict[str, Any] = {
    "network": "compact",
    "stages": [{"epochs": 1, "batch_size": 32, "learning_rate": 0.1}],
}


def epochs(recipe: Recipe) -> list[int]:
    return [stage.epochs for stage in recipe.stages]


def test_the_epochs_of_a_recipe_are_those_of_its_stages() -> None:
    assert THREE_STAGES.epochs == 10


def test_every_epoch_has_its_stage_and_its_place_in_it() -> None:
    found = [THREE_STAGES.stage_at(epoch) for epoch in (0, 5, 6, 8, 9)]
    assert found == [(0, 0), (0, 5), (1, 0), (1, 2), (2, 0)]


def test_an_epoch_beyond_the_last_has_no_stage() -> None:
    with pytest.raises(IndexError, match="fewer epochs"):
        THREE_STAGES.stage_at(10)


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


@pytest.mark.parametrize("wanted", [2, 0, -1])
def test_fewer_epochs_than_stages_are_refused(wanted: int) -> None:
    with pytest.raises(RecipeError, match=f"^{wanted} epochs are too few: the recipe needs 3 or more, one for every"):
        THREE_STAGES.with_epochs(wanted)


def test_other_epochs_change_nothing_else() -> None:
    changed = THREE_STAGES.with_epochs(20)
    assert [(s.batch_size, s.learning_rate) for s in changed.stages] == [(64, 0.1), (128, 0.05), (256, 0.01)]
    assert changed.with_epochs(10) == THREE_STAGES


@pytest.mark.parametrize(
    ("wanted", "every", "at", "period"),
    [(200, 50, (10, 160, 200), 200), (50, 12, (2, 40, 50), 50), (10, 2, (1, 8, 10), 10), (1, 1, (1, 1, 1), 1)],
)
def test_the_schedule_s_moments_move_with_the_epochs(wanted: int, every: int, at: tuple[int, ...], period: int) -> None:
    recipe = Recipe(
        network="compact", stages=(Stage(100, 32, 0.1),), decay_every=25, decay_at=(5, 80, 100), cosine_epochs=100
    )
    moved = recipe.with_epochs(wanted)
    assert (moved.decay_every, moved.decay_at, moved.cosine_epochs) == (every, at, period)


def test_patience_does_not_move_with_the_epochs() -> None:
    assert named_recipe("s3-5").with_epochs(50).patience == 20


def test_moments_that_are_not_there_do_not_appear() -> None:
    moved = THREE_STAGES.with_epochs(100)
    assert (moved.decay_every, moved.decay_at, moved.cosine_epochs) == (0, (), 0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_in_few_epochs_is_still_possible(name: str) -> None:
    recipe = named_recipe(name)
    for wanted in range(len(recipe.stages), 12):
        assert recipe.with_epochs(wanted).epochs == wanted


def test_changes_leave_the_rest_alone() -> None:
    changed = THREE_STAGES.changed({"optimizer": "adam", "ema": 0.99})
    assert changed.as_json() == THREE_STAGES.as_json() | {"optimizer": "adam", "ema": 0.99}


def test_no_change_gives_an_equal_recipe() -> None:
    assert THREE_STAGES.changed({}) == THREE_STAGES


def test_an_unknown_field_is_refused_with_the_valid_names() -> None:
    with pytest.raises(RecipeError, match=r"^a recipe has no optimiser, speed; it has: network, stages, arguments, "):
        THREE_STAGES.changed({"speed": 9, "optimiser": "adam"})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_json_as_it_was(name: str) -> None:
    written = named_recipe(name).as_json()
    text = json.dumps(written, allow_nan=False)
    assert json.loads(text) == written
    assert from_mapping(json.loads(text)).as_json() == written


def test_fields_left_out_have_their_defaults() -> None:
    assert from_mapping(PLAIN) == Recipe(network="compact", stages=(Stage(1, 32, 0.1),))


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        (["network"], "a recipe needs network"),
        (["stages"], "a recipe needs stages"),
        (["network", "stages"], "a recipe needs network and stages"),
    ],
)
def test_missing_fields_are_named(left_out: list[str], reason: str) -> None:
    with pytest.raises(RecipeError, match=f"^{reason}$"):
        from_mapping({name: value for name, value in PLAIN.items() if name not in left_out})


def test_an_unknown_field_in_json_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^a recipe has no speed; it has: network"):
        from_mapping(PLAIN | {"speed": 9})


def test_an_impossible_value_in_json_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^momentum must be in \[0, 1\), not 2$"):
        from_mapping(PLAIN | {"momentum": 2})


@pytest.mark.parametrize("missing", ["epochs", "batch_size", "learning_rate"])
def test_a_stage_in_json_has_all_its_fields(missing: str) -> None:
    stage = {name: value for name, value in PLAIN["stages"][0].items() if name != missing}
    with pytest.raises(RecipeError, match=r"^a stage has exactly epochs, batch_size, learning_rate, not"):
        from_mapping(PLAIN | {"stages": [stage]})
