"""Ladders: what their names stand for, and what climbing one leaves."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.runs import interrupt_at_batch, one_thread, pictures
from training import epoch, networks
from training.epoch import TrainingError
from training.ladders import ladder
from training.ladders.ladder import LADDERS, Ladder, named_ladder
from training.recipe import Recipe, RecipeError, Stage
from training.recipes import RECIPES

# Two epochs of two batches.
SMALL = Recipe(
    network="simple-cnn",
    stages=(Stage(2, 32, 0.01),),
    optimizer="sgd",
    schedule="constant",
    train_images=64,
)
DIVERGING = replace(SMALL, stages=(Stage(2, 32, 1e25),))


@one_thread()
def climb(folder: Path, rungs: dict[str, Recipe], **options: Any) -> dict[str, Any]:
    """Climb `rungs` in `folder`; the result is written to its result.json."""
    return ladder.climb(
        Ladder("Tiny", rungs),
        lambda _: pictures(),
        folder,
        folder / "result.json",
        on=torch.device("cpu"),
        command=["climb", "it"],
        **options,
    )


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ladder with one good rung, one that diverges, and one that has a document's figure."""
    folder = tmp_path_factory.mktemp("ladders") / "tiny"
    climb(folder, {"low": SMALL, "diverging": DIVERGING, "s4-bn": replace(SMALL, train_images=48)}, seed=3)
    return folder


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def rung(folder: Path, name: str) -> dict[str, Any]:
    (found,) = (entry for entry in read(folder)["rungs"] if entry["name"] == name)
    return dict(found)


def differences(first: Recipe, second: Recipe) -> set[str]:
    """The fields in which two recipes differ."""
    return {field.name for field in fields(Recipe) if getattr(first, field.name) != getattr(second, field.name)}


def test_an_unknown_ladder_is_refused_with_the_valid_names() -> None:
    with pytest.raises(
        RecipeError, match="unknown ladder 's9'; there are: s0, s1, s2, s3, s4, softmax, s4-compare, flagship-trials"
    ):
        named_ladder("s9")


def test_unknown_rungs_are_refused_with_the_valid_names() -> None:
    with pytest.raises(RecipeError, match="unknown rung vgg, vit; there are: s2-alexnet, s2-lenet"):
        named_ladder("s2").select(["s2-lenet", "vit", "vgg"])


def test_selected_rungs_keep_the_ladders_order() -> None:
    chosen = named_ladder("s3").select(["s3-6", "s3-1"])
    assert chosen == Ladder(named_ladder("s3").title, {"s3-1": RECIPES["s3-1"], "s3-6": RECIPES["s3-6"]})


def test_a_number_of_epochs_reaches_every_rung() -> None:
    assert {recipe.epochs for recipe in named_ladder("s4").with_epochs(7).rungs.values()} == {7}


def test_a_changed_field_reaches_every_rung_and_nothing_else_changes() -> None:
    before, after = named_ladder("s3"), named_ladder("s3").changed({"train_images": 99})
    assert list(after.rungs) == list(before.rungs)
    for name, recipe in after.rungs.items():
        assert recipe == replace(before.rungs[name], train_images=99)


@pytest.mark.parametrize(
    ("name", "rungs"),
    [
        ("s0", ["s0"]),
        ("s1", ["s1"]),
        ("s2", ["s2-alexnet", "s2-lenet"]),
        ("s3", [f"s3-{number}" for number in range(1, 10)]),
        ("s4", ["s4-pure", "s4-bn", "s4-dropout", "s4-flip", "s4-growing-batch", "s4-best"]),
    ],
)
def test_a_documents_ladder_has_its_recipes_in_the_documents_order(name: str, rungs: list[str]) -> None:
    assert list(LADDERS[name].rungs) == rungs
    assert all(recipe == RECIPES[rung] for rung, recipe in LADDERS[name].rungs.items())


def test_the_softmax_ladder_differs_in_the_softmax_alone() -> None:
    without, with_softmax = LADDERS["softmax"].rungs.values()
    assert differences(without, with_softmax) == {"softmax_in_network"}
    assert (without.softmax_in_network, with_softmax.softmax_in_network) == (False, True)


def test_the_comparison_varies_activation_batch_norm_pooling_and_kernels() -> None:
    assert {name: dict(recipe.arguments) for name, recipe in LADDERS["s4-compare"].rungs.items()} == {
        "relu": {"activation": "relu", "batch_norm": False},
        "tanh": {"activation": "tanh", "batch_norm": False},
        "sigmoid": {"activation": "sigmoid", "batch_norm": False},
        "relu-bn": {"activation": "relu", "batch_norm": True},
        "tanh-bn": {"activation": "tanh", "batch_norm": True},
        "sigmoid-bn": {"activation": "sigmoid", "batch_norm": True},
        "relu-bn-no-overlap": {"overlapping": False},
        "relu-bn-3x3": {"kernels": (3, 3)},
        "relu-bn-5x5": {"kernels": (5, 5)},
    }


def test_the_comparisons_rungs_share_everything_but_their_arguments() -> None:
    start, *others = LADDERS["s4-compare"].rungs.values()
    assert (start.network, start.epochs, start.train_images) == ("alexnet-bn", 2, 10_000)
    assert all(differences(start, other) == {"arguments"} for other in others)


@pytest.mark.parametrize("name", LADDERS)
def test_every_rungs_network_can_be_built_for_its_pictures(name: str) -> None:
    for recipe in LADDERS[name].rungs.values():
        with torch.device("meta"):
            networks.build(recipe.network, classes=10, size=ladder.picture_size(recipe), **recipe.arguments)


def test_pictures_have_the_side_of_the_networks_document() -> None:
    assert [ladder.picture_size(RECIPES[name]) for name in ("s1", "s2-alexnet", "s2-lenet")] == [32, 224, 28]


def test_each_rung_gets_pictures_of_its_networks_size(tmp_path: Path) -> None:
    asked: list[int] = []

    def load(size: int) -> Any:
        asked.append(size)
        raise InterruptedError

    for name in ("s2-alexnet", "s4-bn"):
        with pytest.raises(InterruptedError):
            ladder.climb(
                Ladder("", {name: RECIPES[name]}), load, tmp_path, tmp_path / "x", on=torch.device("cpu"), command=[]
            )
    assert asked == [224, 32]


def test_a_result_says_what_it_is_and_how_to_have_it_again(climbed: Path) -> None:
    result = read(climbed)
    assert (result["format"], result["title"], result["command"]) == (1, "Tiny", ["climb", "it"])
    assert [entry["name"] for entry in result["rungs"]] == ["low", "diverging", "s4-bn"]


def test_a_rung_has_its_recipe_and_what_went_in(climbed: Path) -> None:
    found = rung(climbed, "low")
    assert found["recipe"] == json.loads(json.dumps(SMALL.as_json()))
    assert found["pictures"].items() >= {"name": "synthetic", "fit": 64, "validation": 30, "test": 60}.items()
    assert (found["size"], found["seed"]) == (20, 3)
    assert found["parameters"] == (27 * 18 + 18) + (18 * 10 * 10 * 64 + 64) + (64 * 10 + 10)


def test_a_rung_has_what_the_run_measured(climbed: Path) -> None:
    found = rung(climbed, "low")
    lines = [json.loads(line) for line in (climbed / "low" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in found["history"]] == [1, 2]
    for entry, line in zip(found["history"], lines, strict=True):
        assert entry.keys() == line.keys()
        assert entry["train_loss"] == pytest.approx(line["train_loss"], rel=1e-5)
    assert found["accuracy"].keys() == {"validation", "test"}
    assert found["seconds"] == pytest.approx(sum(line["seconds"] for line in lines))


def test_a_rung_says_where_its_figures_come_from(climbed: Path) -> None:
    provenance = rung(climbed, "low")["provenance"]
    assert "commit" in provenance
    assert provenance["device"].startswith("cpu (")
    assert {"python", "torch", "numpy"} <= provenance["versions"].keys()


def test_a_rung_has_its_documents_figures_where_there_are_any(climbed: Path) -> None:
    assert rung(climbed, "low")["reported"] == {"held_out": None, "train": None, "note": ""}
    assert rung(climbed, "s4-bn")["reported"] == {"held_out": 0.8030, "train": None, "note": ""}


def test_a_rung_that_diverges_is_entered_with_the_reason_and_the_next_one_runs(climbed: Path) -> None:
    found = rung(climbed, "diverging")
    assert found["diverged"].startswith("the loss became ")
    assert "in epoch 1 by step 2; lower the learning rate" in found["diverged"]
    assert found.keys() == {"name", "recipe", "reported", "diverged", "epochs_before"}
    assert "test" in rung(climbed, "s4-bn")["accuracy"]


def test_the_written_result_is_the_returned_one(tmp_path: Path) -> None:
    assert climb(tmp_path, {"low": SMALL}) == read(tmp_path)


def test_finished_rungs_are_written_before_the_next_one_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at_batch(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        climb(tmp_path, {"low": SMALL, "high": SMALL})
    assert [entry["name"] for entry in read(tmp_path)["rungs"]] == ["low"]


def test_going_on_trains_no_finished_rung_again(climbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rung(climbed, "low")

    def forbidden(*_: object) -> None:
        raise AssertionError("the rung was finished")

    monkeypatch.setattr(epoch, "take_step", forbidden)
    again = climb(climbed, {"low": SMALL}, seed=3, go_on=True)
    assert again["rungs"][0] == before


def test_going_on_finishes_the_interrupted_rung_and_begins_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = {"low": SMALL, "high": SMALL, "top": SMALL}
    with monkeypatch.context() as patch:
        interrupt_at_batch(7, patch)  # the first one of the second rung's second epoch
        with pytest.raises(KeyboardInterrupt):
            climb(tmp_path, rungs)
    climb(tmp_path, rungs, go_on=True)
    accuracies = [entry["accuracy"]["test"] for entry in read(tmp_path)["rungs"]]
    assert len(accuracies) == 3
    assert len(set(accuracies)) == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_going_on_begins_a_rung_again_that_was_stopped_in_its_first_epoch(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at_batch(batch, patch)
        with pytest.raises(KeyboardInterrupt):
            climb(tmp_path, {"low": SMALL})
    assert len(climb(tmp_path, {"low": SMALL}, go_on=True)["rungs"][0]["history"]) == 2


def test_going_on_passes_a_rung_that_diverged_in_its_first_epoch(tmp_path: Path) -> None:
    climb(tmp_path, {"diverging": DIVERGING})
    names = [entry["name"] for entry in climb(tmp_path, {"diverging": DIVERGING, "low": SMALL}, go_on=True)["rungs"]]
    assert names == ["diverging", "low"]


def test_what_the_rungs_differ_in_cannot_be_made_the_same() -> None:
    with pytest.raises(RecipeError, match="the rungs of this ladder differ in softmax_in_network"):
        LADDERS["softmax"].changed({"softmax_in_network": False})


def test_a_folder_that_holds_a_ladder_is_not_overwritten(tmp_path: Path) -> None:
    climb(tmp_path, {"low": SMALL})
    before = read(tmp_path)
    with pytest.raises(TrainingError, match="holds a ladder already: go on with --resume"):
        climb(tmp_path, {"high": SMALL})
    assert read(tmp_path) == before
