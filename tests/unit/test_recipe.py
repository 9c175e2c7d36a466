"""Recipe and Stage: what is impossible is refused when they are made, with the field and what it may be."""

from dataclasses import fields
from typing import Any

import pytest

from training.recipe import Recipe, RecipeError, Stage

STAGE: dict[str, Any] = {"epochs": 1, "batch_size": 32, "learning_rate": 0.1}
COMPACT = Recipe(network="compact", stages=(Stage(**STAGE),))

COUNTS = ("train_images", "validation_images", "test_images")  # null for all
WHOLE = ("crop_padding", "cutout", "decay_every", "cosine_epochs", "patience")
FROM_0_TO_1 = ("brightness", "contrast", "saturation", "cutmix", "distillation")
BELOW_1 = ("momentum", "label_smoothing", "ema")
ABOVE_0 = ("bias_rate", "decay_factor", "distillation_temperature", "validation_share")
NUMBERS = (*FROM_0_TO_1, *BELOW_1, *ABOVE_0, "weight_decay", "threshold", "hue", "fancy_pca")
SWITCHES = ("softmax_in_network", "fresh_optimizer", "flip", "alternate_flip")
CHOICES = {
    "precision": "auto, fp32",
    "first_convolution": "random, whitened, frozen",
    "optimizer": "sgd, nesterov, adam, adamw, muon",
    "schedule": "constant, step, multi-step, cosine, one-cycle, plateau",
    "threshold_mode": "abs, rel",
    "stored_as": "float32, float16",
}
STRUCTURES = ("network", "stages", "arguments", "decay_at")
NETWORKS = "alexnet, alexnet-32, alexnet-32-big, alexnet-bn, compact, lenet, simple-cnn"


def refused(**changes: Any) -> str:
    """The message that a recipe with `changes` is refused with."""
    with pytest.raises(RecipeError) as caught:
        COMPACT.changed(changes)
    return str(caught.value)


def refused_stage(**changes: Any) -> str:
    """The message that a stage with `changes` is refused with."""
    with pytest.raises(RecipeError) as caught:
        Stage(**STAGE | changes)
    return str(caught.value)


def test_every_field_is_held_to_its_type_by_one_of_these_tests() -> None:
    tested = [*COUNTS, *WHOLE, *NUMBERS, *SWITCHES, *CHOICES, *STRUCTURES]
    assert sorted(tested) == sorted(entry.name for entry in fields(Recipe))


def test_a_recipe_error_is_a_value_error() -> None:
    assert issubclass(RecipeError, ValueError)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"epochs": 0}, "a stage needs at least 1 epoch, not 0"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"epochs": 1.0}, "epochs must be a whole number, not 1.0"),
        ({"epochs": None}, "epochs must be a whole number, not None"),
        ({"batch_size": 1}, "batch norm needs a batch of at least 2, not 1"),
        ({"batch_size": "32"}, "batch_size must be a whole number, not '32'"),
        ({"learning_rate": 0.0}, "the learning rate must be positive, not 0.0"),
        ({"learning_rate": -0.1}, "the learning rate must be positive, not -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number, not nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number, not inf"),
        ({"learning_rate": False}, "learning_rate must be a number, not False"),
    ],
)
def test_an_impossible_stage_is_refused(values: dict[str, Any], reason: str) -> None:
    assert refused_stage(**values) == reason


@pytest.mark.parametrize("name", [*WHOLE, *COUNTS])
@pytest.mark.parametrize("value", [True, 1.5, "1", float("nan"), [1]])
def test_a_whole_number_is_nothing_else(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be a whole number, not {value!r}"


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_is_needed(name: str) -> None:
    assert refused(**{name: None}) == f"{name} must be a whole number, not None"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, "0.5", None, float("nan"), float("inf"), [0.5]])
def test_a_number_is_nothing_else(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be a number, not {value!r}"


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be true or false, not {value!r}"


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["best", None, 1, ["adam"]])
def test_a_word_is_one_of_the_choices(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"unknown {name} {value!r}; there are: {CHOICES[name]}"


@pytest.mark.parametrize("name", BELOW_1)
@pytest.mark.parametrize("value", [-0.1, 1.0, 2])
def test_a_share_that_must_stay_below_one_does(name: str, value: float) -> None:
    assert refused(**{name: value}) == f"{name} must be in [0, 1), not {value}"


@pytest.mark.parametrize("name", ["weight_decay", "threshold", "fancy_pca", "crop_padding", "cutout", "patience"])
def test_what_cannot_be_negative_is_not(name: str) -> None:
    assert refused(**{name: -1}) == f"{name} must not be negative, it is -1"


@pytest.mark.parametrize(("name", "most"), [(name, "1") for name in FROM_0_TO_1] + [("hue", "0.5")])
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_colours_and_mixing_stay_within_limits(name: str, most: str, value: float) -> None:
    assert refused(**{name: value}) == f"{name} must be in [0, {most}], not {value}"


@pytest.mark.parametrize("name", ["train_images", "validation_images"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_subset_has_a_picture(name: str, value: int) -> None:
    assert refused(**{name: value}) == f"{name} must be at least 1, or null for all; it is {value}"


def test_the_test_split_may_be_left_unread() -> None:
    assert COMPACT.changed({"test_images": 0}).test_images == 0
    assert refused(test_images=-1) == "test_images must be at least 0, or null for all; it is -1"


@pytest.mark.parametrize("value", [0, -0.5])
def test_biases_learn_at_some_rate(value: float) -> None:
    assert refused(bias_rate=value) == f"bias_rate must be positive, not {value}"


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1])
def test_the_validation_share_leaves_both_parts_some_pictures(value: float) -> None:
    assert refused(validation_share=value) == f"validation_share must be in (0, 1), not {value}"


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5])
def test_a_decay_makes_the_rate_no_larger_and_not_zero(value: float) -> None:
    assert refused(decay_factor=value) == f"decay_factor must be in (0, 1], not {value}"


@pytest.mark.parametrize("value", [0, -1])
def test_the_step_schedule_needs_its_period(value: int) -> None:
    assert refused(schedule="step", decay_every=value) == f"schedule step needs decay_every >= 1, not {value}"


def test_the_multi_step_schedule_needs_its_epochs() -> None:
    expected = "schedule multi-step needs decay_at, the epochs after which the rate falls"
    assert refused(schedule="multi-step") == expected


@pytest.mark.parametrize("value", [(0,), (-1, 5), (30, 5)])
def test_the_epochs_of_decay_rise_under_any_schedule(value: tuple[int, ...]) -> None:
    assert refused(decay_at=value) == f"decay_at must be rising epochs from 1 on, not {value}"


@pytest.mark.parametrize("value", [30, None, [2.5], ["30"], "30", (True, 2)])
def test_the_epochs_of_decay_are_a_list_of_whole_numbers_under_any_schedule(value: object) -> None:
    assert "decay_at" in refused(decay_at=value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_norm": "no"},
        {"batch_norm": 1},
        {"dropout": [0.1, "x", 0, 0]},
        {"linear_dropout": True},
        {"dropout": 0.5},
    ],
)
def test_arguments_of_a_network_have_the_types_it_takes(arguments: dict[str, object]) -> None:
    assert next(iter(arguments)) in refused(network="compact", arguments=arguments)


def test_a_recipe_has_a_stage() -> None:
    assert refused(stages=()) == "a recipe needs at least one stage"


@pytest.mark.parametrize("value", [5, None])
def test_the_stages_are_a_list(value: object) -> None:
    assert "stages" in refused(stages=value)


@pytest.mark.parametrize(
    "value", [1, "ab", [1, 32, 0.1], {"epochs": 1}, STAGE | {"momentum": 0.9}, STAGE | {"epochs": 0}, None]
)
def test_a_stage_that_is_none_is_refused(value: object) -> None:
    assert "stage" in refused(stages=[value])


def test_a_stage_that_is_none_is_told_its_fields() -> None:
    assert refused(stages=[{"epochs": 1}]) == "a stage has exactly epochs, batch_size, learning_rate, not {'epochs': 1}"


@pytest.mark.parametrize("value", ["vgg", "", None, 1, ["compact"]])
def test_an_unknown_network_is_refused_with_the_valid_names(value: object) -> None:
    assert refused(network=value) == f"unknown network {value!r}; there are: {NETWORKS}"


@pytest.mark.parametrize(
    ("network", "argument", "valid"),
    [
        ("alexnet", "batch_norm", "dropout, padding"),
        ("alexnet-bn", "linear_dropout", "activation, batch_norm, dropout, kernels, overlapping"),
        ("compact", "kernels", "batch_norm, dropout, linear_dropout"),
        ("lenet", "dropout", "none"),
    ],
)
def test_an_unknown_argument_of_a_network_is_refused_with_the_valid_ones(
    network: str, argument: str, valid: str
) -> None:
    message = refused(network=network, arguments={argument: 1})
    assert message == f"{network} has no argument {argument}; it takes: {valid}"


@pytest.mark.parametrize("name", ["classes", "channels", "size"])
def test_what_the_pictures_decide_is_no_argument(name: str) -> None:
    assert refused(arguments={name: 3}).startswith(f"compact has no argument {name}; it takes: ")


@pytest.mark.parametrize("value", [5, None, "dropout", [1]])
def test_arguments_are_names_with_values(value: object) -> None:
    assert refused(arguments=value) == f"arguments must be an object of names and values, not {value!r}"


@pytest.mark.parametrize(
    ("network", "arguments", "reason"),
    [
        ("compact", {"dropout": [0.5]}, "compact has four convolutions, so dropout needs four rates, not 1"),
        ("compact", {"linear_dropout": 1.5}, "a dropout rate must be in [0, 1), not 1.5"),
        ("compact", {"linear_dropout": 1}, "a dropout rate must be in [0, 1), not 1"),
        ("alexnet", {"padding": -1}, "padding must be 1 (S2) or 2 (S0), not -1"),
        ("alexnet-bn", {"activation": "gelu"}, "unknown activation 'gelu'; there are: relu, tanh, sigmoid"),
        ("alexnet-bn", {"kernels": [3, 4]}, "kernels must be two odd numbers, not (3, 4)"),
    ],
)
def test_arguments_that_the_network_cannot_have_are_refused_with_its_reason(
    network: str, arguments: dict[str, Any], reason: str
) -> None:
    message = refused(network=network, arguments=arguments)
    assert message.startswith(f"{network} cannot have {arguments}: ")
    assert reason in message


def test_a_whole_number_is_a_number() -> None:
    assert COMPACT.changed({"momentum": 0, "brightness": 1}).momentum == 0
