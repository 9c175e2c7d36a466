"""The card's sections on calibration and the unknown: what was measured is there, and nothing else."""

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.runs import METADATA
from training.loop import Result
from training.reports import findings
from training.reports.card import model_card

CALIBRATION = {
    "temperature": 1.5,
    "error_before": 0.25,
    "error_after": 0.125,
    "before": [{"count": 4, "confidence": 0.75, "accuracy": 0.5}],
    "after": [{"count": 4, "confidence": 0.625, "accuracy": 0.5}],
}


def sections(**changes: Any) -> str:
    return "\n".join(findings.sections(replace(METADATA, **changes)))


def test_without_figures_there_is_no_section_() -> None:
    assert findings.sections(METADATA) == []


def test_calibration_shows_the_error_before_and_after_the_temperature_and_the_picture() -> None:
    text = sections(measures={"calibration": CALIBRATION})
    assert text.startswith("## Calibration\n\nThe temperature divides the logits before the softmax.")
    assert "| as the network gives them | 25.00% |\n| at temperature 1.5 | **12.50%** |\n\n![" in text
    assert "(reliability.png)" in text
    assert "the 10 validation pictures" in text


def test_a_threshold_is_told_before_anything_was_measured_with_it() -> None:
    text = sections(energy_threshold=-2.5)
    assert text.startswith("## The unknown\n")
    assert "is above -2.5000." in text
    assert "|" not in text


def test_the_sections_stand_between_accuracy_and_making(quick_run: Result) -> None:
    headings = re.findall(r"^## (.*)$", model_card("quick", quick_run.metadata), re.MULTILINE)
    assert headings == ["Accuracy", "Calibration", "The unknown", "How it was made", "Limits"]


def test_a_run_leaves_every_picture_that_its_card_shows(quick_run: Result) -> None:
    run = quick_run.path.parent
    shown = re.findall(r"\]\((.*\.png)\)", (run / "card.md").read_text())
    assert shown == ["confusion.png", "reliability.png", "curves.png"]
    assert all((run / name).is_file() for name in shown)


@pytest.mark.parametrize(("threshold", "told"), [(None, False), (-2.5, True)])
def test_the_limits_promise_a_flag_only_where_there_is_a_threshold(
    threshold: float | None, told: bool, quick_run: Result
) -> None:
    card = model_card("quick", replace(quick_run.metadata, energy_threshold=threshold))
    assert ("flagged as unknown. A picture is scaled" in card) == told
