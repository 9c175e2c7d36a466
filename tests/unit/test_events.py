"""What TensorBoard shows of a run: every measure of every epoch once, and its pictures."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from tests.unit.runs import RECIPE, quick_train, stop_at_batch
from training.loop import Result

TAGS = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning rate": "learning_rate",
    "images per second": "images_per_second",
}
AUGMENTED, CONFUSION = "augmented pictures", "confusion matrix, test"


def shown(run: Path) -> EventAccumulator:
    """What TensorBoard reads."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def scalars(run: Path, tag: str) -> dict[int, float]:
    found = shown(run).Scalars(tag)
    assert len({event.step for event in found}) == len(found)
    return {event.step: event.value for event in found}


def pictures(run: Path, tag: str) -> list[tuple[int, Image.Image]]:
    """Steps and pictures."""
    found = shown(run).Images(tag)
    return [(event.step, Image.open(io.BytesIO(event.encoded_image_string))) for event in found]


def test_a_run_shows_six_measures_and_two_pictures(quick_run: Result) -> None:
    tags = shown(quick_run.path.parent).Tags()
    assert set(tags["scalars"]) == set(TAGS)
    assert set(tags["images"]) == {AUGMENTED, CONFUSION}


@pytest.mark.parametrize(("tag", "measure"), TAGS.items())
def test_a_measure_is_that_of_metrics_jsonl_epoch_by_epoch(tag: str, measure: str, quick_run: Result) -> None:
    run = quick_run.path.parent
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert scalars(run, tag) == {line["epoch"]: pytest.approx(line[measure], rel=1e-6) for line in lines}
    assert list(scalars(run, tag)) == [1, 2, 3]


def test_the_augmented_pictures_are_shown_before_the_first_epoch(quick_run: Result) -> None:
    ((step, image),) = pictures(quick_run.path.parent, AUGMENTED)
    assert (step, image.size) == (0, (9 * 96, -(-RECIPE.stages[0].batch_size // 9) * 96))


def test_the_confusion_matrix_is_that_of_the_runs_folder(quick_run: Result) -> None:
    run = quick_run.path.parent
    ((step, image),) = pictures(run, CONFUSION)
    with Image.open(run / "confusion.png") as drawn:
        assert (step, image.tobytes()) == (4, drawn.convert("RGB").tobytes())


@pytest.mark.parametrize("batch", [4, 5, 6])
def test_a_resumed_run_shows_every_epoch_once(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at_batch(batch, tmp_path, monkeypatch)
    quick_train(tmp_path, go_on=True)
    assert all(list(scalars(tmp_path, tag)) == [1, 2, 3] for tag in TAGS)
    assert [step for step, _ in pictures(tmp_path, AUGMENTED)] == [0]
    assert [step for step, _ in pictures(tmp_path, CONFUSION)] == [4]


def test_a_run_begun_again_after_a_stop_in_its_first_epoch_shows_its_augmented_pictures_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(2, tmp_path, monkeypatch)
    quick_train(tmp_path)
    assert [step for step, _ in pictures(tmp_path, AUGMENTED)] == [0]


def test_a_finished_run_that_is_resumed_shows_nothing_twice(tmp_path: Path) -> None:
    quick_train(tmp_path)
    quick_train(tmp_path, go_on=True)
    assert list(scalars(tmp_path, "loss/train")) == [1, 2, 3]
    assert [step for step, _ in pictures(tmp_path, CONFUSION)] == [4]
