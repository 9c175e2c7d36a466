"""Reliability and temperature, by hand on a few answers whose best temperature is known."""

import json
import math

import pytest
import torch
from torch import Tensor

from training import calibration
from training.calibration import Bin, Calibration, calibration_error, fit_temperature, reliability

LN3 = math.log(3)


def certain(confidences: list[float]) -> Tensor:
    """Probabilities of two classes, the first with the given confidence."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack((first, 1 - first), dim=1)


def answers(gap: float, right: int, wrong: int) -> tuple[Tensor, Tensor]:
    """Logits that prefer the first of two classes by `gap`, and labels that agree or do not."""
    logits = torch.tensor([[gap, 0.0]]).expand(right + wrong, 2)
    return logits, torch.tensor([0] * right + [1] * wrong)


def likelihood(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """The mean negative log-likelihood."""
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, labels))


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
    assert calibration_error(reliability(certain(confidences), torch.tensor(labels))) == pytest.approx(error)


def test_a_bin_has_count_mean_confidence_and_share_of_right_answers() -> None:
    bins = reliability(certain([0.625, 0.65625, 0.875]), torch.tensor([0, 1, 0]))
    assert len(bins) == 15
    assert bins[9] == Bin(2, 0.640625, 0.5)
    assert bins[13] == Bin(1, 0.875, 1.0)
    assert {entry for number, entry in enumerate(bins) if number not in (9, 13)} == {Bin(0, 0.0, 0.0)}


@pytest.mark.parametrize(("confidence", "number"), [(1.0, 14), (0.6, 8), (0.5, 7)])
def test_a_bin_ends_with_its_upper_edge(confidence: float, number: int) -> None:
    counts = [entry.count for entry in reliability(certain([confidence]), torch.tensor([0]))]
    assert counts.index(1) == number


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_the_temperature_makes_confidence_equal_accuracy(temperature: float) -> None:
    # Three of four right: the logits should differ by ln 3, and differ by that many times as much.
    assert fit_temperature(*answers(temperature * LN3, right=3, wrong=1)) == pytest.approx(temperature, abs=1e-4)


def test_no_other_temperature_explains_the_labels_better() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, 10, generator=generator)
    labels = torch.multinomial(torch.softmax(logits / 1.7, dim=1), 1, generator=generator).flatten()
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(1.7, abs=0.1)
    least = likelihood(logits, labels, found)
    assert least < min(likelihood(logits, labels, found + step) for step in (-0.5, -0.01, -0.001, 0.001, 0.01, 0.5))


@pytest.mark.parametrize(("right", "wrong", "bound"), [(1, 0, 0.1), (20, 0, 0.1), (1, 1, 10.0), (0, 5, 10.0)])
def test_answers_that_are_all_right_or_worth_nothing_end_at_the_bounds(right: int, wrong: int, bound: float) -> None:
    assert fit_temperature(*answers(2.0, right, wrong)) == bound


def test_logits_of_hundreds_do_not_overflow() -> None:
    assert fit_temperature(*answers(5 * LN3, right=3, wrong=1)) == pytest.approx(5)
    assert fit_temperature(*answers(1000.0, right=3, wrong=1)) == 10.0


def test_adding_the_same_to_all_logits_of_a_picture_changes_nothing() -> None:
    logits, labels = answers(2 * LN3, right=3, wrong=1)
    assert fit_temperature(logits + 64, labels) == fit_temperature(logits, labels)


def test_the_temperature_mends_the_error_and_leaves_the_answers_alone() -> None:
    logits, labels = answers(2 * LN3, right=3, wrong=1)
    found = calibration.measure(logits, labels, 2.0)
    assert found.error_before == pytest.approx(0.9 - 0.75)  # e^(2 ln 3) = 9 to 1
    assert found.error_after == pytest.approx(0, abs=1e-6)
    assert sum(entry.count * entry.accuracy for entry in found.before) == 3
    assert sum(entry.count * entry.accuracy for entry in found.after) == 3


def test_a_calibration_survives_as_json() -> None:
    found = Calibration(1.5, before=(Bin(3, 0.75, 0.5), Bin(0, 0.0, 0.0)), after=(Bin(1, 0.5, 0.0), Bin(2, 0.875, 1.0)))
    figures = json.loads(json.dumps(found.as_json()))
    assert calibration.from_json(figures) == found
    assert (figures["error_before"], figures["error_after"]) == (0.25, (0.5 + 2 * 0.125) / 3)
