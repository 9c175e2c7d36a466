"""The energy of logits and its threshold: exact numbers, ties, small counts, and the same formula as PyTorch's."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.energy import energy, fit_threshold, is_unknown


def alone(*logits: float) -> NDArray[np.float32]:
    """Logits of pictures whose energy is exactly -logit: beside it the other two classes count for nothing."""
    return np.array([[logit, logit - 1000, logit - 1000] for logit in logits], np.float32)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0], 0.0),
        ([0.0, 0.0], -math.log(2)),
        ([3.0, 3.0, 3.0, 3.0], -3 - math.log(4)),
        ([math.log(2), math.log(6)], -math.log(8)),
        ([30_000.0, 0.0], -30_000.0),  # its power is no number any more
        ([-30_000.0, -30_000.0], 30_000 - math.log(2)),
    ],
)
def test_the_energy_is_minus_the_logarithm_of_the_sum_of_powers(logits: list[float], expected: float) -> None:
    assert energy(np.array([logits])).tolist() == [pytest.approx(expected)]


def test_the_formula_is_that_of_pytorch() -> None:
    logits = 5 * torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    expected = -torch.logsumexp(logits.double(), dim=1)
    assert torch.allclose(torch.from_numpy(energy(logits.numpy())), expected, rtol=1e-14, atol=1e-14)


def test_energies_of_float32_logits_are_computed_in_float64() -> None:
    assert energy(alone(1.5)).dtype == np.float64


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (40, 38), (100, 95)])
def test_the_threshold_is_the_energy_of_the_last_picture_kept(count: int, kept: int) -> None:
    logits = alone(*range(count, 0, -1))  # energies -count, ..., -1
    assert fit_threshold(logits) == -count + kept - 1
    assert int(is_unknown(logits, fit_threshold(logits)).sum()) == count - kept


@pytest.mark.parametrize("share", [0.95, 0.9, 0.55, 0.07])
def test_no_picture_too_few_and_none_too_many_are_kept_whatever_their_number(share: float) -> None:
    percent = round(100 * share)
    for count in range(1, 301):
        logits = alone(*range(count))
        kept = count - int(is_unknown(logits, fit_threshold(logits, share)).sum())
        assert kept == -(-percent * count // 100), count


def test_equal_energies_are_all_kept() -> None:
    logits = alone(*[8.0] * 90, *[4.0] * 10)
    assert fit_threshold(logits) == -4
    assert not is_unknown(logits, fit_threshold(logits)).any()


def test_all_pictures_can_be_kept() -> None:
    assert fit_threshold(alone(3.0, 1.0, 2.0), share=1) == -1


def test_unknown_is_what_lies_above_the_threshold_and_not_what_lies_on_it() -> None:
    just_below = float(np.nextafter(-4.0, -5.0))
    assert is_unknown(alone(3.0, 4.0, 5.0), -4.0).tolist() == [True, False, False]
    assert is_unknown(alone(3.0, 4.0, 5.0), just_below).tolist() == [True, True, False]
