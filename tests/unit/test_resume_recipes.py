"""Resuming is bit-identical whatever a recipe keeps from step to step or from epoch to epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.runs import RECIPE, interrupt_at_batch, quick_train, stop_at_batch, undrawn
from training import resume
from training.loop import Result
from training.recipe import Recipe, Stage

NEVER_ENOUGH = {"schedule": "plateau", "patience": 0, "threshold": 1.0, "threshold_mode": "abs"}
ADAM = RECIPE.changed({"optimizer": "adam"})
RECIPES = {
    "adam": ADAM,
    "plain SGD": RECIPE.changed({"optimizer": "sgd", "momentum": 0.0}),
    "averaged weights": RECIPE.changed({"ema": 0.9}),
    "plateau": RECIPE.changed(NEVER_ENOUGH | {"stages": [Stage(3, 48, 0.05)]}),
    "fresh optimiser": ADAM.changed({"fresh_optimizer": True}),
    "dropout": RECIPE.changed({"arguments": {"dropout": (0.3, 0.3, 0.0, 0.1)}}),
    "muon": RECIPE.changed({"optimizer": "muon", "bias_rate": 2.0}),
    "frozen first convolution": RECIPE.changed({"first_convolution": "frozen"}),
    "mixed and mirrored": RECIPE.changed({"cutmix": 0.5, "alternate_flip": True}),
    "colours": RECIPE.changed({"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "fancy_pca": 0.1}),
}
# Batches: of the run, and of the one that resumes it at a new stage and is stopped again after an epoch.
PLACES = {"once": [5], "twice": [4, 3]}


class Whole(NamedTuple):
    """A run that was never interrupted."""

    recipe: Recipe
    result: Result


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module", params=RECIPES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    recipe = RECIPES[request.param]
    return Whole(recipe, quick_train(tmp_path_factory.mktemp("runs") / "whole", recipe))


def state(run: Path) -> dict[str, torch.Tensor]:
    """Network, averages and optimiser as they were after the last epoch."""
    return dict(load_file(resume.state_path(run)))


@pytest.mark.parametrize("batches", PLACES.values(), ids=PLACES)
def test_a_stopped_run_ends_where_an_uninterrupted_one_ends(
    batches: list[int], whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, batch in enumerate(batches):
        with monkeypatch.context() as patch:
            interrupt_at_batch(batch, patch)
            with pytest.raises(KeyboardInterrupt):
                quick_train(tmp_path, whole.recipe, go_on=number > 0)
    resumed = quick_train(tmp_path, whole.recipe, go_on=True)
    expected, found = state(whole.result.path.parent), state(tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.metadata.weights_sha256 == whole.result.metadata.weights_sha256


def test_what_the_optimiser_keeps_is_in_the_state(whole: Whole) -> None:
    momentum = {"momentum_buffer"}
    kept = {"sgd": set(), "nesterov": momentum, "muon": momentum, "adam": {"step", "exp_avg", "exp_avg_sq"}}
    names = state(whole.result.path.parent)
    found = {name.rpartition(".")[2] for name in names if name.startswith("optimizer.")}
    assert found == kept[whole.recipe.optimizer]


def test_averaged_weights_are_in_the_state_where_there_are_any(whole: Whole) -> None:
    averaged = [name for name in state(whole.result.path.parent) if name.startswith("averaged.")]
    assert bool(averaged) == (whole.recipe.ema > 0)


def test_a_resumed_run_lowers_the_rate_for_accuracies_before_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(5, tmp_path, monkeypatch, RECIPES["plateau"])
    history = quick_train(tmp_path, RECIPES["plateau"], go_on=True).metadata.history
    assert [entry["learning_rate"] for entry in history] == pytest.approx([0.05, 0.05, 0.005])
