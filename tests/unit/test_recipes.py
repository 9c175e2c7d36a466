"""The named recipes hold what their documents say: stages, rates, optimisers, schedules, augmentation and figures."""

from typing import Any

import pytest

from training import networks
from training.networks import INPUTS
from training.recipe import RecipeError, Stage
from training.recipes import RECIPES, REPORTED, Reported, named_recipe

S0 = "s0"
S3 = [f"s3-{rung}" for rung in range(1, 10)]
S4 = ["s4-pure", "s4-bn", "s4-dropout", "s4-flip", "s4-growing-batch", "s4-best"]
GROWING = [(20, 32), (20, 128), (10, 256)]

# Epochs and (peak) rate of the stages. The batch of S3 is ours.
STAGES = {
    "s1": [(5, 32, 1e-3)],
    "s3-1": [(50, 128, 1e-3)],
    "s3-2": [(100, 128, 1e-3)],
    "s3-3": [(200, 128, 1e-3)],
    "s3-4": [(200, 128, 5e-4)],
    "s3-5": [(500, 128, 5e-4)],
    "s3-6": [(300, 128, 5e-4)],
    "s3-7": [(300, 128, 5e-4)],
    "s3-8": [(300, 128, 5e-4)],
    "s3-9": [(300, 128, 5e-4)],
    "s4-pure": [(50, 128, 1e-3)],
    "s4-bn": [(50, 128, 1e-3)],
    "s4-dropout": [(50, 128, 1e-3)],
    "s4-flip": [(50, 128, 1e-3)],
    "s4-growing-batch": [(*stage, 1e-3) for stage in GROWING],
    "s4-best": [(*stage, rate) for stage, rate in zip(GROWING, (0.05, 0.005, 0.0005), strict=True)],
}
PLATEAU: dict[str, Any] = {"schedule": "plateau", "decay_factor": 0.5}
SCHEDULES: dict[str, dict[str, Any]] = {
    "s0": {"schedule": "cosine", "cosine_epochs": 100},
    "s1": {"schedule": "constant"},
    "s3-1": {"schedule": "constant"},
    "s3-2": {"schedule": "step", "decay_every": 25, "decay_factor": 0.1},
    "s3-3": {"schedule": "multi-step", "decay_at": (5, 80, 100), "decay_factor": 0.5},
    "s3-4": PLATEAU | {"patience": 5, "threshold": 1e-3, "threshold_mode": "abs"},
    "s3-5": PLATEAU | {"patience": 20, "threshold": 1e-4, "threshold_mode": "rel"},
    "s3-6": {"schedule": "multi-step", "decay_at": (100,)},
    "s3-7": {"schedule": "multi-step", "decay_at": (100,)},
    "s3-8": PLATEAU | {"patience": 10, "threshold": 2e-4, "threshold_mode": "rel"},
    "s3-9": PLATEAU | {"patience": 10, "threshold": 2e-4, "threshold_mode": "rel"},
    **{name: {"schedule": "constant"} for name in S4},
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "s0": ("alexnet-32-big", {}),
    "s1": ("simple-cnn", {}),
    "s2-alexnet": ("alexnet", {}),
    "s2-lenet": ("lenet", {}),
    **{name: ("compact", {"batch_norm": False}) for name in S3[:5]},
    "s3-6": ("compact", {"batch_norm": True}),
    "s3-7": ("compact", {"batch_norm": True, "dropout": [0.5, 0.5, 0.0, 0.0], "linear_dropout": 0.5}),
    "s3-8": ("compact", {"batch_norm": True, "dropout": [0.3, 0.3, 0.0, 0.1]}),
    "s3-9": ("compact", {"batch_norm": True, "dropout": [0.3, 0.3, 0.0, 0.1]}),
    "s4-pure": ("alexnet-bn", {"batch_norm": False}),
    "s4-bn": ("alexnet-bn", {"batch_norm": True}),
    **{name: ("alexnet-bn", {"batch_norm": True, "dropout": 0.5}) for name in S4[2:]},
}
AUGMENTED: dict[str, dict[str, Any]] = {
    "s3-9": {"flip": True, "crop_padding": 4, "brightness": 0.5, "contrast": 0.5, "hue": 0.5},
    **{name: {"flip": True} for name in S4[3:]},
}
FIGURES = {
    "s1": (None, 0.60),
    "s3-1": (0.75, 0.89),
    "s3-2": (None, 0.93),
    "s3-3": (None, 0.92),
    "s3-4": (None, 0.948),
    "s3-5": (None, 0.953),
    "s3-6": (0.790, 0.979),
    "s3-8": (0.828, 0.971),
    "s3-9": (0.80, None),
    "s4-pure": (0.7556, None),
    "s4-bn": (0.8030, None),
    "s4-dropout": (0.8295, None),
    "s4-flip": (0.8601, None),
    "s4-growing-batch": (0.8863, None),
    "s4-best": (0.8949, None),
}
NO_AUGMENTATION: dict[str, Any] = {
    "flip": False,
    "crop_padding": 0,
    "cutout": 0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "fancy_pca": 0.0,
}
DOCUMENTED = sorted(NETWORKS)


def test_an_unknown_recipe_is_refused_with_the_valid_names() -> None:
    valid = "alexnet-bn, compact, flagship, flagship-fast, flagship-finish, flagship-mean, flagship-taught, s0, s1, "
    with pytest.raises(RecipeError, match=f"unknown recipe 'alexnet'; there are: {valid}"):
        named_recipe("alexnet")


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_is_one_that_its_network_can_follow(name: str) -> None:
    recipe = named_recipe(name)
    channels, size = INPUTS.get(recipe.network, (3, 32))
    assert networks.build(recipe.network, classes=10, channels=channels, size=size, **recipe.arguments)


def test_the_named_recipes_are_ours_and_those_of_the_documents() -> None:
    assert sorted(RECIPES) == sorted(
        [
            "alexnet-bn",
            "compact",
            "flagship",
            "flagship-fast",
            "flagship-finish",
            "flagship-mean",
            "flagship-taught",
            *DOCUMENTED,
        ]
    )


def test_the_fast_flagship_is_the_same_network_in_eight_epochs() -> None:
    flagship, fast = named_recipe("flagship"), named_recipe("flagship-fast")
    assert (fast.network, fast.arguments) == (flagship.network, flagship.arguments)
    assert fast.epochs == 8 < flagship.epochs


def test_the_flagship_is_finished_as_the_same_network_without_cutmix() -> None:
    flagship, finish = named_recipe("flagship"), named_recipe("flagship-finish")
    assert (finish.network, finish.arguments) == (flagship.network, flagship.arguments)
    assert (flagship.cutmix, finish.cutmix) == (0.5, 0.0)


def test_a_mean_of_flagships_is_that_network_at_a_rate_that_moves_nothing() -> None:
    flagship, mean = named_recipe("flagship"), named_recipe("flagship-mean")
    assert (mean.network, mean.arguments) == (flagship.network, flagship.arguments)
    assert [stage.learning_rate < 1e-3 * flagship.stages[0].learning_rate for stage in mean.stages] == [True]


def test_the_norms_of_a_mean_settle_on_pictures_as_the_network_will_meet_them() -> None:
    mean = named_recipe("flagship-mean")
    assert (mean.crop_padding, mean.cutout, mean.cutmix) == (0, 0, 0.0)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_document_s_recipe_trains_its_network(name: str) -> None:
    written = named_recipe(name).as_json()
    assert (written["network"], written["arguments"]) == NETWORKS[name]


@pytest.mark.parametrize("name", STAGES)
def test_a_document_s_recipe_has_its_epochs_batches_and_rates(name: str) -> None:
    assert named_recipe(name).stages == tuple(Stage(*values) for values in STAGES[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_document_s_recipe_has_its_schedule(name: str) -> None:
    recipe = named_recipe(name)
    assert {field: getattr(recipe, field) for field in SCHEDULES[name]} == SCHEDULES[name]


@pytest.mark.parametrize("name", ["s0", "s1", *S3])
def test_s0_s1_and_s3_train_with_adam(name: str) -> None:
    recipe = named_recipe(name)
    assert (recipe.optimizer, recipe.momentum) == ("adam", 0.9)


@pytest.mark.parametrize("name", S4)
def test_s4_trains_with_sgd_and_momentum(name: str) -> None:
    recipe = named_recipe(name)
    assert recipe.optimizer == "sgd"
    assert recipe.momentum > 0


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_document_s_recipe_augments_as_its_document_and_no_more(name: str) -> None:
    recipe = named_recipe(name)
    assert {field: getattr(recipe, field) for field in NO_AUGMENTATION} == NO_AUGMENTATION | AUGMENTED.get(name, {})


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_document_s_recipe_has_nothing_that_its_document_lacks(name: str) -> None:
    recipe = named_recipe(name)
    assert (recipe.weight_decay, recipe.label_smoothing, recipe.ema) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_no_named_recipe_repeats_the_documents_mistakes(name: str) -> None:
    recipe = named_recipe(name)
    assert not recipe.softmax_in_network
    assert recipe.validation_share > 0


def test_s0_has_five_stages_of_which_two_are_the_document_s() -> None:
    stages = named_recipe(S0).stages
    assert stages[:2] == (Stage(2000, 256, 2e-5), Stage(500, 256, 1e-6))
    assert len(stages) == 5
    assert {stage.batch_size for stage in stages} == {256}


def test_s0_forgets_the_optimiser_where_a_stage_begins() -> None:
    assert [name for name in RECIPES if named_recipe(name).fresh_optimizer] == [S0]


def test_s0_fits_to_2560_pictures() -> None:
    assert named_recipe(S0).train_images == 2560


def test_s1_has_the_subsets_of_its_samplers() -> None:
    recipe = named_recipe("s1")
    assert (recipe.train_images, recipe.validation_images, recipe.test_images) == (20_000, 5_000, 5_000)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("s0", "s1")])
def test_the_others_take_all_pictures(name: str) -> None:
    recipe = named_recipe(name)
    assert recipe.train_images is recipe.validation_images is recipe.test_images is None


@pytest.mark.parametrize("name", FIGURES)
def test_the_reported_figures_are_the_documents(name: str) -> None:
    assert (REPORTED[name].held_out, REPORTED[name].train) == FIGURES[name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s0", "stuck near 1.5; 5 to 6 hours"),
        ("s2-alexnet", "given up after one epoch, 15 minutes"),
        ("s3-1", "diverges after 100 epochs"),
        ("s3-2", "stuck from epoch 65"),
        ("s3-6", "78.8 % at epoch 60"),
        ("s3-7", "stuck at 70 %"),
        ("s3-8", "at epoch 294"),
        ("s3-9", "stuck"),
    ],
)
def test_what_the_documents_tell_beside_figures_is_kept(name: str, told: str) -> None:
    assert told in REPORTED[name].note


def test_a_recipe_without_a_figure_reports_none() -> None:
    silent = {name for name, found in REPORTED.items() if found.held_out is found.train is None}
    assert silent == REPORTED.keys() - FIGURES.keys()
    assert Reported() == Reported(None, None, "")


def test_every_report_is_of_a_named_recipe() -> None:
    assert REPORTED.keys() <= RECIPES.keys()


def test_the_recipes_cannot_be_changed_in_place() -> None:
    with pytest.raises(TypeError):
        RECIPES["s1"] = named_recipe("s0")  # type: ignore[index]
