"""The figures of an evaluation, by hand on a few pictures, and the command that prints them."""

from pathlib import Path

import pytest
import torch

from training import __main__ as command
from training import calibration, checkpoint
from training.checkpoint import CheckpointError
from training.data import sources
from training.evaluate import Evaluation, class_table, confusion, confusion_table, evaluate
from training.loop import Result

LABELS = torch.tensor([0, 0, 1, 2])
LOGITS = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [2.0, 0, 0]])
CALIBRATION = calibration.measure(LOGITS, LABELS, 2.0)


def test_the_confusion_matrix_has_a_row_for_the_truth_and_a_column_for_the_answer() -> None:
    assert confusion(LOGITS, LABELS).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_an_evaluation_repeats_the_accuracy_that_the_run_measured(tiny_run: Result) -> None:
    dataset = sources.load("synthetic", None)
    source = checkpoint.load(tiny_run.path)
    found = evaluate(source.build_classifier(), source.metadata, dataset.test, dataset.classes)
    assert found.accuracy == tiny_run.metadata.accuracy["test"]
    assert int(found.confusion.sum()) == 500
    assert found.confusion.diagonal().sum() / 500 == pytest.approx(found.accuracy)
    assert found.confusion.sum(dim=1).tolist() == [50] * 10


def test_an_evaluation_repeats_the_calibration_that_the_run_measured(tiny_run: Result) -> None:
    dataset = sources.load("synthetic", None)
    source = checkpoint.load(tiny_run.path)
    found = evaluate(source.build_classifier(), source.metadata, dataset.test, dataset.classes)
    assert found.calibration.as_json() == tiny_run.metadata.measures["calibration"]
    assert found.calibration.temperature == tiny_run.metadata.temperature


@pytest.mark.parametrize(("number", "kept"), [(100, {"calibration", "confusion"}), (101, {"calibration"})])
def test_the_confusion_of_many_classes_is_not_kept(number: int, kept: set[str]) -> None:
    classes, counts = tuple(map(str, range(number))), torch.eye(number, dtype=torch.int64)
    assert Evaluation(classes, 0.5, CALIBRATION, counts).measures().keys() == kept


def test_pictures_of_other_classes_are_refused(tiny_run: Result) -> None:
    source = checkpoint.load(tiny_run.path)
    pictures = sources.load("synthetic", None).test
    with pytest.raises(CheckpointError, match="knows other classes: columns-2px"):
        evaluate(source.build_classifier(), source.metadata, pictures, ("cat", "dog"))


def test_a_class_that_is_never_answered_has_no_precision() -> None:
    table = class_table(Evaluation(("a", "b", "c"), 0.5, CALIBRATION, confusion(LOGITS, LABELS)))
    assert list(table.columns[2].cells) == ["50.0%", "100.0%", "0.0%"]
    assert list(table.columns[3].cells) == ["50.0%", "50.0%", "-"]


def test_a_confusion_matrix_too_wide_for_a_terminal_is_left_out() -> None:
    classes = tuple(f"class {number}" for number in range(21))
    assert confusion_table(Evaluation(classes, 0.5, CALIBRATION, torch.zeros(21, 21, dtype=torch.int64))) is None


def test_the_command_prints_accuracy_classes_and_confusion(
    tiny_run: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["evaluate", str(tiny_run.path), "--data", "synthetic"]) == 0
    printed = capsys.readouterr().out
    errors = calibration.errors(calibration.from_json(tiny_run.metadata.measures["calibration"]))
    assert f"accuracy {tiny_run.metadata.accuracy['test']:.2%}, calibration error {errors}" in printed
    assert "rows-8px" in printed
    assert "answered as" in printed


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["evaluate", str(tmp_path / "none.safetensors"), "--data", "synthetic"]) == 1
    assert "none.safetensors cannot be read" in capsys.readouterr().err
