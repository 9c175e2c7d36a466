"""The gate passes what agrees and stops what does not."""

from collections.abc import Callable

import numpy as np
import pytest

from export import parity
from export.bundle import Outputs
from export.parity import LOGIT_LIMIT, ParityError
from training.pixels import Pixels

IMAGES = parity.seeded_noise(256, size=4, channels=3)


def outputs(logits: object) -> Outputs:
    """Logits with their softmax."""
    values = np.asarray(logits, dtype=np.float32)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return Outputs(values, powers / powers.sum(axis=1, keepdims=True))


def sums(images: Pixels) -> Outputs:
    """Logits with exact arithmetic: the sum of each channel, scaled to a few units."""
    return outputs(images.sum(axis=(1, 2)) / 256)


def test_equal_answers_pass_at_every_batch_size() -> None:
    report = parity.gate(sums, sums, IMAGES, None, "noise")
    assert [batch.batch_size for batch in report.batches] == [1, 2, 17, 128]
    assert all(batch.max_logit_difference == 0 and batch.pictures == 256 for batch in report.batches)


def test_a_difference_above_the_limit_fails() -> None:
    with pytest.raises(ParityError) as caught:
        parity.gate(sums, lambda images: outputs(sums(images).logits + 3 * LOGIT_LIMIT), IMAGES, None, "noise")
    assert not any(batch.passed for batch in caught.value.report.batches)


def test_a_fault_at_one_batch_size_alone_fails() -> None:
    def wrong_for_17(images: Pixels) -> Outputs:
        return outputs(sums(images).logits + float(len(images) == 17))

    with pytest.raises(ParityError) as caught:
        parity.gate(sums, wrong_for_17, IMAGES, None, "noise")
    assert [batch.passed for batch in caught.value.report.batches] == [True, True, False, True]


def test_an_answer_that_is_not_a_number_fails() -> None:
    with pytest.raises(ParityError):
        parity.gate(sums, lambda images: outputs(sums(images).logits * np.float32("nan")), IMAGES, None, "noise")


@pytest.mark.parametrize(
    "fault",
    [
        lambda found: found._replace(probabilities=found.probabilities[:, ::-1]),  # another order of the classes
        lambda found: found._replace(probabilities=found.logits),  # softmax forgotten
        lambda found: found._replace(probabilities=outputs(found.logits / 5).probabilities),  # another temperature
    ],
)
def test_wrong_probabilities_fail_although_the_logits_agree(fault: Callable[[Outputs], Outputs]) -> None:
    with pytest.raises(ParityError) as caught:
        parity.gate(sums, lambda images: fault(sums(images)), IMAGES, None, "noise")
    assert all(batch.max_logit_difference == 0 for batch in caught.value.report.batches)


def test_fewer_than_256_pictures_are_too_few() -> None:
    with pytest.raises(ValueError, match="256"):
        parity.gate(sums, sums, IMAGES[:255], None, "noise")


def test_swapped_near_ties_are_counted_and_do_not_fail() -> None:
    tie, half = np.array([[1.0, 1.0 + LOGIT_LIMIT]]), LOGIT_LIMIT / 2
    found = tie + np.array([[half + 1e-6, -half - 1e-6]])
    row = parity.compare(outputs(tie), outputs(found), 1)
    assert (row.near_ties, row.near_ties_swapped, row.other_answers) == (1, 1, 0)
    assert row.passed


def test_another_answer_with_a_clear_margin_fails() -> None:
    row = parity.compare(outputs([[0.0, 1.0]]), outputs([[1.0, 0.0]]), 1)
    assert (row.near_ties, row.other_answers) == (0, 1)
    assert not row.passed


def test_another_number_of_classes_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
        parity.compare(outputs(np.zeros((2, 4))), outputs(np.zeros((2, 3))), 1)


def test_accuracy_is_counted_where_labels_are_known() -> None:
    labels = sums(IMAGES).logits.argmax(axis=1)
    labels[:64] = (labels[:64] + 1) % 3
    report = parity.gate(sums, sums, IMAGES, labels, "noise")
    assert report.accuracy == {"pytorch": 0.75, "fp32": 0.75}


def test_crops_come_from_the_pictures_in_turn() -> None:
    dark, light = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    crops = parity.random_crops([dark, light], 5, size=4)
    assert crops.shape == (5, 4, 4, 3)
    assert crops.mean(axis=(1, 2, 3)).tolist() == [0, 255, 0, 255, 0]
