"""The training loop: what a run measures, what it leaves behind, and that seeds decide everything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from tests.unit.runs import RECIPE, pictures, quick_train
from tests.unit.trainees import PLAIN, build, split
from training import checkpoint, epoch, evaluate, loop, resume, schedule
from training.classifier import Preprocess
from training.data import sources
from training.data.augment import Draws, augment
from training.evaluate import accuracy, predict
from training.loop import Extras, Result
from training.recipe import Stage
from training.reports import progress

MEASURES = {
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
}


def recorded(function: Callable[..., Any], seen: list[int]) -> Callable[..., Any]:
    """`function`, noting how many pictures it is given each time."""

    def wrapped(network: object, preprocess: object, images: torch.Tensor) -> Any:
        seen.append(len(images))
        return function(network, preprocess, images)

    return wrapped


def history(*accuracies: float) -> list[dict[str, float]]:
    return [{"epoch": number, "validation_accuracy": value} for number, value in enumerate(accuracies, start=1)]


def test_one_epoch_on_synthetic_pictures_is_twice_as_good_as_chance(tiny_run: Result) -> None:
    assert tiny_run.metadata.accuracy["test"] >= 0.2


def test_the_checkpoint_is_the_only_model_beside_the_folders(quick_run: Result) -> None:
    assert [path.name for path in quick_run.path.parent.glob("*.safetensors")] == ["checkpoint.safetensors"]


def test_a_run_leaves_checkpoint_card_metrics_pictures_stages_events_and_the_state_to_resume(quick_run: Result) -> None:
    left = {path.name for path in quick_run.path.parent.iterdir()}
    pictures = {"confusion.png", "curves.png", "mistakes.png", "reliability.png"}
    folders = {"resume", "stages", "tensorboard"}
    assert left == {"card.md", "checkpoint.safetensors", "metrics.jsonl"} | pictures | folders


@pytest.mark.parametrize("name", ["confusion", "curves", "mistakes", "reliability"])
def test_the_pictures_are_pngs(name: str, quick_run: Result) -> None:
    with Image.open(quick_run.path.parent / f"{name}.png") as image:
        image.load()
        assert image.format == "PNG"


def test_metrics_have_one_line_an_epoch_with_every_measure(quick_run: Result) -> None:
    lines = [json.loads(line) for line in (quick_run.path.parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line.keys() == MEASURES | {"readings"} for line in lines)


def test_the_history_in_the_checkpoint_is_that_of_the_metrics_without_readings(quick_run: Result) -> None:
    lines = [json.loads(line) for line in (quick_run.path.parent / "metrics.jsonl").read_text().splitlines()]
    assert quick_run.metadata.history == [{name: line[name] for name in MEASURES} for line in lines]


def test_the_checkpoint_describes_data_recipe_and_seed(quick_run: Result) -> None:
    metadata = quick_run.metadata
    assert metadata.data.items() >= {"name": "synthetic", "fit": 96, "validation": 30, "test": 60}.items()
    assert metadata.data["pictures_sha256"] == pictures().train.sha256()
    assert metadata.recipe["stages"] == [
        {"epochs": 1, "batch_size": 32, "learning_rate": 0.05},
        {"epochs": 2, "batch_size": 48, "learning_rate": 0.02},
    ]
    assert (metadata.network, metadata.size, metadata.channels, metadata.seed) == ("compact", 20, 3, 0)
    assert metadata.classes == list(pictures().classes)


def test_the_checkpoint_holds_the_statistics_of_the_training_pictures(quick_run: Result) -> None:
    mean, std = sources.channel_statistics(pictures().train.images)
    assert (quick_run.metadata.mean, quick_run.metadata.std) == (list(mean), list(std))


def test_the_checkpoint_says_where_it_was_made(quick_run: Result) -> None:
    assert quick_run.metadata.provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert quick_run.metadata.provenance["device"].startswith("cpu")


def test_the_validation_accuracy_is_that_of_the_best_epoch(quick_run: Result) -> None:
    best = max(finished["validation_accuracy"] for finished in quick_run.metadata.history)
    assert quick_run.metadata.accuracy["validation"] == best


def test_the_test_accuracy_is_that_of_the_weights_in_the_checkpoint(quick_run: Result) -> None:
    classifier = checkpoint.load(quick_run.path).build_classifier()
    with torch.inference_mode():
        logits, _ = classifier(pictures().test.images)
    assert accuracy(logits, pictures().test.labels) == quick_run.metadata.accuracy["test"]


def test_the_test_pictures_are_read_once_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(epoch, "predict", recorded(predict, seen))
    monkeypatch.setattr(evaluate, "predict", recorded(predict, seen))
    quick_train(tmp_path)
    assert seen == [30, 30, 30, 30, 60]  # three epochs, then the best one again in fp32


def test_the_same_seed_gives_the_same_weights(quick_run: Result, tmp_path: Path) -> None:
    assert quick_train(tmp_path).metadata.weights_sha256 == quick_run.metadata.weights_sha256


def test_another_seed_gives_other_weights(quick_run: Result, tmp_path: Path) -> None:
    assert quick_train(tmp_path, seed=1).metadata.weights_sha256 != quick_run.metadata.weights_sha256


def test_every_epoch_draws_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def noted(images: torch.Tensor, draws: Draws, *rest: Any) -> torch.Tensor:
        drawn.append(draws.shift.numpy().tobytes())
        return augment(images, draws, *rest)

    monkeypatch.setattr(epoch, "augment", noted)
    quick_train(tmp_path)
    preview, *batches = drawn
    assert len(set(batches)) == len(batches) == 7
    assert preview == batches[0]


def test_the_learning_rate_follows_the_stage_and_its_schedule(quick_run: Result) -> None:
    rates = [finished["learning_rate"] for finished in quick_run.metadata.history]
    last_batches = [(0.05, 2 / 3), (0.02, 1 / 4), (0.02, 3 / 4)]  # peak and progress through the stage
    assert rates == pytest.approx([peak * schedule.factor(RECIPE, 1, done, []) for peak, done in last_batches])


def test_a_last_single_picture_is_left_out_of_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def noted(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        batches.append(len(images))
        return augment(images, *rest)

    monkeypatch.setattr(epoch, "augment", noted)
    quick_train(tmp_path, RECIPE.with_epochs(2).changed({"train_images": 49}))
    assert batches[1:] == [32, 17, 48]  # after the preview


def test_seeds_of_epochs_and_neighbouring_runs_all_differ() -> None:
    seeds = {epoch.epoch_seed(seed, number) for seed in range(20) for number in range(500)}
    assert len(seeds) == 20 * 500


def test_the_best_epoch_is_the_earliest_of_equals() -> None:
    assert progress.best_epoch(history(0.2, 0.5, 0.5, 0.4))["epoch"] == 2


@pytest.mark.parametrize(("labels", "share"), [([1, 0, 1], 1.0), ([1, 0, 0], 2 / 3), ([0, 1, 0], 0.0)])
def test_accuracy_is_the_share_of_largest_logits_at_the_label(labels: list[int], share: float) -> None:
    logits = torch.tensor([[0.1, 0.2], [3.0, -1.0], [-2.0, -1.0]])
    assert accuracy(logits, torch.tensor(labels)) == pytest.approx(share)


def test_predictions_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(20 * 20 * 3, 10)).eval()
    preprocess = Preprocess([0.5] * 3, [0.25] * 3)
    whole = predict(network, preprocess, pictures().test.images)
    monkeypatch.setattr(evaluate, "BATCH", 7)
    assert torch.allclose(predict(network, preprocess, pictures().test.images), whole, atol=1e-5)


def test_the_state_to_resume_lies_in_a_folder_of_its_own(quick_run: Result) -> None:
    assert resume.state_path(quick_run.path.parent).parent == quick_run.path.parent / "resume"
    assert resume.state_path(quick_run.path.parent).is_file()


@pytest.mark.parametrize(
    ("subset", "sizes"),
    [
        ({}, (270, 30, 60)),
        ({"train_images": 50}, (50, 30, 60)),
        ({"validation_images": 60}, (240, 60, 60)),
        ({"test_images": 20}, (270, 30, 20)),
        ({"train_images": 50, "validation_images": 60, "test_images": 20}, (50, 60, 20)),
        ({"train_images": 1000, "test_images": 1000}, (270, 30, 60)),
    ],
)
def test_a_recipe_chooses_how_many_pictures_to_fit_to_to_select_on_and_to_report_on(
    subset: dict[str, int], sizes: tuple[int, int, int]
) -> None:
    parts = loop.part(RECIPE.changed({"train_images": None} | subset), pictures(), seed=0)
    assert (len(parts.fit), len(parts.held), len(parts.test)) == sizes


def test_a_run_says_how_many_pictures_it_had(tmp_path: Path) -> None:
    recipe = RECIPE.changed({"train_images": 50, "validation_images": 60, "test_images": 20})
    counts = {"fit": 50, "validation": 60, "test": 20}
    assert quick_train(tmp_path, recipe).metadata.data.items() >= counts.items()


def test_a_trial_leaves_the_test_split_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(evaluate, "evaluate", read)
    result = quick_train(tmp_path, RECIPE.changed({"test_images": 0}))
    assert result.metadata.data["test"] == 0
    assert set(result.metadata.accuracy) == {"validation"}
    assert len(result.metadata.history) == 3
    assert (tmp_path / "curves.png").exists()
    assert not (tmp_path / "card.md").exists()
    assert quick_train(tmp_path, RECIPE.changed({"test_images": 0}), go_on=True).metadata == result.metadata


def test_plateau_looks_only_at_the_epochs_of_its_stage() -> None:
    chosen = {"schedule": "plateau", "patience": 0, "decay_factor": 0.5, "stages": [Stage(3, 8, 1.0), Stage(3, 8, 0.1)]}
    trained, fit = build(PLAIN.changed(chosen)), split(8)
    accuracies = [0.5, 0.4, 0.3, 0.2, 0.3]
    rates = [epoch.plan_epoch(trained, number, fit, accuracies[:number]).rates[0] for number in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.1, 0.1, 0.1]


def test_a_compiled_run_ends_with_the_same_weights_under_the_same_names(
    quick_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []

    def compile_by_hand(network: nn.Module) -> nn.Module:
        compiled.append(network)
        return nn.Sequential(network)  # a wrapper whose state dict has other names, as torch.compile's has

    monkeypatch.setattr(torch, "compile", compile_by_hand)
    result = quick_train(tmp_path, extras=Extras(compiled=True))
    assert len(compiled) == 1
    assert result.metadata.weights_sha256 == quick_run.metadata.weights_sha256
