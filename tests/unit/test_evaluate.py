"""The figures of an evaluation, by hand on a few pictures, and the command that prints them."""

from pathlib import Path

import pytest
import torch

from training import __main__ as command
from training import checkpoint
from training.checkpoint import CheckpointError
from training.data import sources
from training.evaluate import Evaluation, calibration_error, class_table, confusion, confusion_table, evaluate
from training.loop import Result

LABELS = torch.tensor([0, 0, 1, 2])
LOGITS = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [2.0, 0, 0]])


def test_the_confusion_matrix_has_a_row_for_the_truth_and_a_column_for_the_answer() -> None:
    assert confusion(LOGITS, LABELS).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def certain(confidences: list[float]) -> torch.Tensor:
    """Probabilities of two classes, the first with the given confidence."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack((first, 1 - first), dim=1)


@pytest.mark.parametrize(
    ("confidences", "labels", "error"),
    [
        ([1.0, 1.0], [0, 0], 0.0),  # sure and right
        ([1.0, 1.0], [1, 1], 1.0),  # sure and wrong
        ([0.8, 0.8], [0, 1], 0.3),  # 80 % sure, right half the time
        ([0.9, 0.6], [0, 1], (0.1 + 0.6) / 2),  # in different bins, so the gaps do not cancel
        ([0.75, 0.75, 0.75, 0.75], [0, 0, 0, 1], 0.0),
    ],
)
def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy(
    confidences: list[float], labels: list[int], error: float
) -> None:
    assert calibration_error(certain(confidences), torch.tensor(labels)) == pytest.approx(error)


def test_an_evaluation_repeats_the_accuracy_that_the_run_measured(tiny_run: Result) -> None:
    dataset = sources.load("synthetic", None)
    source = checkpoint.load(tiny_run.path)
    found = evaluate(source.build_classifier(), source.metadata, dataset.test, dataset.classes)
    assert found.accuracy == tiny_run.metadata.accuracy["test"]
    assert int(found.confusion.sum()) == 500
    assert found.confusion.diagonal().sum() / 500 == pytest.approx(found.accuracy)
    assert found.confusion.sum(dim=1).tolist() == [50] * 10


def test_pictures_of_other_classes_are_refused(tiny_run: Result) -> None:
    source = checkpoint.load(tiny_run.path)
    pictures = sources.load("synthetic", None).test
    with pytest.raises(CheckpointError, match="knows other classes: columns-2px"):
        evaluate(source.build_classifier(), source.metadata, pictures, ("cat", "dog"))


def test_a_class_that_is_never_answered_has_no_precision() -> None:
    table = class_table(Evaluation(("a", "b", "c"), 0.5, 0.1, confusion(LOGITS, LABELS)))
    assert list(table.columns[2].cells) == ["50.0%", "100.0%", "0.0%"]
    assert list(table.columns[3].cells) == ["50.0%", "50.0%", "-"]


def test_a_confusion_matrix_too_wide_for_a_terminal_is_left_out() -> None:
    classes = tuple(f"class {number}" for number in range(21))
    assert confusion_table(Evaluation(classes, 0.5, 0.1, torch.zeros(21, 21, dtype=torch.int64))) is None


def test_the_command_prints_accuracy_classes_and_confusion(
    tiny_run: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["evaluate", str(tiny_run.path), "--data", "synthetic"]) == 0
    printed = capsys.readouterr().out
    assert f"accuracy {tiny_run.metadata.accuracy['test']:.2%}" in printed
    assert "rows-8px" in printed
    assert "answered as" in printed


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["evaluate", str(tmp_path / "none.safetensors"), "--data", "synthetic"]) == 1
    assert "none.safetensors cannot be read" in capsys.readouterr().err
