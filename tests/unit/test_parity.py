"""The gate passes what agrees and stops what does not, at every batch size and on every kind of picture."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from export import gate, parity, parity_report
from export.bundle import FILES, Outputs, Runner
from export.limits import EIGHT_BITS, EXACT_ON_CPU, HALF, LIMITS, Limits
from export.parity import BATCH_SIZES, Pictures, Questions
from export.providers import PROVIDERS
from export.verdicts import BatchParity, ParityReport, Verdict
from training.pixels import Pixels

IMAGES = parity.seeded_noise(300, size=4, channels=3, seed=3)
LIMIT = EXACT_ON_CPU.logits


def outputs(logits: object) -> Outputs:
    """Logits with their softmax."""
    values = np.asarray(logits, dtype=np.float32)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return Outputs(values, powers / powers.sum(axis=1, keepdims=True))


def sums(images: Pixels) -> Outputs:
    """Logits with exact arithmetic: the sum of each channel, scaled to a few units."""
    return outputs(images.sum(axis=(1, 2)) / 256)


def asked(count: int = 300, labels: bool = False) -> Questions:
    """So many given pictures; where there are labels, three quarters of the reference's answers are right."""
    right = sums(IMAGES[:count]).logits.argmax(axis=1)
    right[: count // 4] = (right[: count // 4] + 1) % 3
    return parity.ask(sums, Pictures(IMAGES[:count], right if labels else None, "noise"))


def verdict(candidate: Runner, variant: str = "fp32", labels: bool = False) -> Verdict:
    return parity.examine(asked(labels=labels), candidate, variant, "cpu")


def other_answers(images: Pixels, share: float) -> Outputs:
    """The sums, but for a `share` of the pictures, told by their first pixel, the answer of the next channel."""
    found = sums(images).logits
    wrong = images[:, 0, 0, 0] < 256 * share
    found[wrong] = np.roll(found[wrong], 1, axis=1)
    return outputs(found)


def test_equal_answers_pass_at_every_batch_size() -> None:
    found = verdict(sums)
    assert found.passed
    assert sorted(row.batch_size for row in found.rows) == list(BATCH_SIZES) == [1, 2, 3, 17, 64, 128, 256]
    assert all(row.max_logit_difference == 0 and row.pictures >= 256 for row in found.rows)


def test_all_given_pictures_edges_and_noise_pass_once_and_every_kind_at_each_size() -> None:
    seen: list[Pixels] = []

    def watched(images: Pixels) -> Outputs:
        seen.append(images)
        return sums(images)

    parity.examine(asked(), watched, "fp32", "cpu")
    passed = np.concatenate(seen)
    times = [int((passed == picture).all(axis=(1, 2, 3)).sum()) for picture in parity.edges(4, 3)]
    assert times == [len(BATCH_SIZES)] * 3
    assert len(passed) == (300 + 3 + 64) + (256 + 3 + 64) * (len(BATCH_SIZES) - 1)


def test_few_given_pictures_are_filled_up_with_noise_to_the_largest_batch() -> None:
    questions = asked(count=10)
    assert len(questions.images) == 10 + 3 + 246
    assert len(questions.probe()) == len(questions.images)


def test_edges_are_black_white_and_a_checkerboard_of_pixels() -> None:
    black, white, board = parity.edges(4, 1)[..., 0]
    assert (black.max(), white.min()) == (0, 255)
    assert board.tolist() == [[0, 255, 0, 255], [255, 0, 255, 0]] * 2


def test_a_difference_above_the_limit_fails() -> None:
    found = verdict(lambda images: outputs(sums(images).logits + 3 * LIMIT))
    assert found.fault == "logits differ by 3.0e-04 at batch size 64"


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_a_fault_at_one_batch_size_alone_fails(size: int) -> None:
    found = verdict(lambda images: outputs(sums(images).logits + float(len(images) == size)))
    assert found.fault == f"logits differ by 1.0e+00 at batch size {size}"


@pytest.mark.parametrize("picture", [0, 1, 2])
def test_a_fault_on_one_edge_picture_alone_fails(picture: int) -> None:
    edge = parity.edges(4, 3)[picture]
    found = verdict(lambda images: outputs(sums(images).logits + (images == edge).all(axis=(1, 2, 3))[:, None]))
    assert found.fault == "logits differ by 1.0e+00 at batch size 64"


@pytest.mark.parametrize("variant", FILES)
def test_an_answer_that_is_not_a_number_fails_for_every_variant(variant: str) -> None:
    assert "differ by nan" in verdict(lambda images: outputs(sums(images).logits * np.float32("nan")), variant).fault


@pytest.mark.parametrize("variant", FILES)
def test_a_runtime_that_fails_on_a_batch_is_a_fault_with_its_first_words(variant: str) -> None:
    def fails(images: Pixels) -> Outputs:
        raise RuntimeError(f"no kernel for {len(images)}\nat a place in its source")

    assert verdict(fails, variant).fault == "it cannot run: no kernel for 64"


@pytest.mark.parametrize(
    "fault",
    [
        lambda found: found._replace(probabilities=found.probabilities[:, ::-1]),  # another order of the classes
        lambda found: found._replace(probabilities=found.logits),  # softmax forgotten
        lambda found: found._replace(probabilities=outputs(found.logits / 5).probabilities),  # another temperature
    ],
)
def test_wrong_probabilities_fail_although_the_logits_agree(fault: Callable[[Outputs], Outputs]) -> None:
    found = verdict(lambda images: fault(sums(images)))
    assert found.fault.startswith("probabilities differ")
    assert all(row.max_logit_difference == 0 for row in found.rows)


@pytest.mark.parametrize(("variant", "share", "passed"), [("fp16", 0.0, True), ("fp16", 0.02, False)])
def test_fp16_must_give_999_of_1000_answers(variant: str, share: float, passed: bool) -> None:
    assert verdict(lambda images: other_answers(images, share), variant).passed is passed


@pytest.mark.parametrize(("wrong", "passed"), [(10, True), (11, False)])
def test_int8_may_give_one_other_answer_of_a_hundred(wrong: int, passed: bool) -> None:
    expected = outputs(np.eye(1000, 3, dtype=np.float32) * 0 + np.array([1, 0, 0]))
    logits = expected.logits.copy()
    logits[:wrong] = [0, 1, 0]
    row = parity.compare(expected, outputs(logits), 64, EIGHT_BITS, 1000)
    assert (row.other_answers, row.fault(EIGHT_BITS) == "") == (wrong, passed)


def test_answers_of_inexact_variants_on_noise_and_edges_do_not_count() -> None:
    given = {picture.tobytes() for picture in IMAGES}

    def wrong_elsewhere(images: Pixels) -> Outputs:
        known = np.array([picture.tobytes() in given for picture in images])
        found = sums(images).logits
        found[~known] = np.roll(found[~known], 1, axis=1)
        return outputs(found)

    assert verdict(wrong_elsewhere, "int8").passed
    assert not verdict(wrong_elsewhere, "fp32").passed


def test_an_inexact_variant_must_give_the_same_answers_at_every_batch_size() -> None:
    found = verdict(lambda images: other_answers(images, 0.5 * (len(images) == 17)), "int8")
    assert found.fault.endswith("answers are others at batch size 17")


@pytest.mark.parametrize(
    ("variant", "fault"), [("int8", "accuracy falls by 0.67 points, 0.30 are allowed"), ("fp32", "")]
)
def test_a_variant_that_loses_accuracy_fails(variant: str, fault: str) -> None:
    questions = asked(labels=True)
    ties = sums(questions.images).logits
    assert questions.labels is not None
    right = np.flatnonzero(ties[:300].argmax(axis=1) == questions.labels)[:2]

    def two_wrong(images: Pixels) -> Outputs:
        chosen = (images[:, None] == questions.images[right][None]).all(axis=(2, 3, 4)).any(axis=1)
        found = sums(images).logits
        found[chosen] = np.roll(found[chosen], 1, axis=1)
        return outputs(found)

    found = parity.examine(questions, two_wrong if variant == "int8" else sums, variant, "cpu")
    assert found.fault == fault


def test_swapped_near_ties_are_counted_and_do_not_fail() -> None:
    tie, half = np.array([[1.0, 1.0 + LIMIT]]), LIMIT / 2
    found = tie + np.array([[half + 1e-6, -half - 1e-6]])
    row = parity.compare(outputs(tie), outputs(found), 1, EXACT_ON_CPU, 1)
    assert (row.near_ties, row.near_ties_swapped, row.other_answers) == (1, 1, 0)
    assert not row.fault(EXACT_ON_CPU)


@pytest.mark.parametrize("limits", [EXACT_ON_CPU, HALF, EIGHT_BITS])
def test_another_answer_with_a_clear_margin_fails(limits: Limits) -> None:
    row = parity.compare(outputs([[0.0, 1.0]]), outputs([[1.0, 0.0]]), 1, limits, 1)
    assert (row.near_ties, row.other_answers) == (0, 1)
    assert row.fault(limits)


def test_another_number_of_classes_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\)"):
        parity.compare(outputs(np.zeros((2, 4))), outputs(np.zeros((2, 3))), 1, EXACT_ON_CPU, 2)


def test_a_calibration_error_that_is_no_number_is_null_in_the_report() -> None:
    found = verdict(lambda images: outputs(sums(images).logits * np.float32("nan")), "fp16", labels=True)
    report = ParityReport("noise", "PyTorch", 0.75, 0.5, (found,))
    (told,) = json.loads(parity_report.files(report)[parity_report.JSON])["verdicts"]
    assert (told["passed"], told["calibration_error"]) == (False, None)


def test_accuracy_is_counted_where_labels_are_known() -> None:
    assert (asked(labels=True).accuracy, verdict(sums, labels=True).accuracy) == (0.75, 0.75)
    assert (asked().accuracy, verdict(sums).accuracy) == (None, None)


def test_so_is_the_calibration_error_of_what_runs_in_production() -> None:
    def error(confidence: float) -> float | None:
        probabilities = np.tile(np.array([confidence, 1 - confidence], np.float32), (4, 1))
        given = Outputs(np.log(probabilities), probabilities)
        return parity.calibration_error(given, np.array([0, 0, 0, 1]))

    assert [error(confidence) for confidence in (0.75, 0.875)] == [0.0, 0.125]
    found = verdict(sums, labels=True).calibration_error
    assert found == asked(labels=True).calibration_error is not None
    assert (asked().calibration_error, verdict(sums).calibration_error) == (None, None)


def test_a_reference_that_is_right_less_often_than_was_promised_is_refused() -> None:
    gate.require_accuracy(asked(labels=True), 0.77)
    gate.require_accuracy(asked(), 1.0)
    with pytest.raises(ValueError, match=r"right on 75\.00% of noise, .* 79\.00%: the classes are in another order"):
        gate.require_accuracy(asked(labels=True), 0.79)


def test_every_variant_has_limits_and_a_reason_in_every_runtime() -> None:
    assert LIMITS.keys() >= {(variant, provider) for variant in FILES for provider in PROVIDERS}
    assert all(limits.why for limits in LIMITS.values())


def test_a_variant_is_kept_where_it_passed_in_every_runtime_and_a_report_passes_by_fp32_alone() -> None:
    def report(*failed: tuple[str, str]) -> ParityReport:
        cases = [("fp32", "cpu"), ("fp32", "openvino"), ("int8", "cpu"), ("int8", "openvino")]
        verdicts = tuple(Verdict(*case, (), None, None, "x" * (case in failed)) for case in cases)
        return ParityReport("noise", "PyTorch", None, None, verdicts)

    assert report().passed
    for provider in ("cpu", "openvino"):
        assert report(("int8", provider)).passed
        assert not report(("int8", provider)).keeps("int8")
    assert not report(("fp32", "openvino")).passed


def test_crops_come_from_the_pictures_in_turn() -> None:
    dark, light = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    crops = parity.random_crops([dark, light], 5, size=4)
    assert crops.shape == (5, 4, 4, 3)
    assert crops.mean(axis=(1, 2, 3)).tolist() == [0, 255, 0, 255, 0]


@pytest.mark.parametrize(
    ("limits", "judged", "allowed"),
    [
        (HALF, 256, 1),
        (EIGHT_BITS, 256, 7),
        (HALF, 999, 3),
        (HALF, 1000, 1),
        (EIGHT_BITS, 5000, 50),
        (EXACT_ON_CPU, 256, 0),
    ],
)
def test_few_pictures_may_differ_by_three_standard_errors_more_and_many_by_the_share_alone(
    limits: Limits, judged: int, allowed: int
) -> None:
    def fault(others: int) -> str:
        return BatchParity(64, judged, 0.0, 0.0, 0, others, 0, judged).fault(limits)

    assert not fault(allowed)
    assert f"{allowed + 1} of {judged:,} answers are others" in fault(allowed + 1)
