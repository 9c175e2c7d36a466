"""The card's sections on calibration, robustness and the unknown: what was measured is there, and nothing else."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.unit.runs import METADATA
from training.checkpoint import Metadata
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
ROBUSTNESS = {
    "data": "pets",
    "pictures": 2000,
    "accuracy": 0.875,
    "changes": [
        {"name": "JPEG (quality)", "strengths": [40, 20, 10], "accuracy": [0.75, 0.5, 0.25]},
        {"name": "blur (sigma)", "strengths": [0.5, 0.75, 1.0], "accuracy": [0.8, 0.7, 0.6]},
    ],
}
UNKNOWN = [
    {"name": "test pictures of pets", "pictures": 2000, "flagged": 90},
    {"name": "uniform noise", "pictures": 400, "flagged": 399},
]


def sections(**changes: Any) -> str:
    return "\n".join(findings.sections(replace(METADATA, **changes)))


def printed(metadata: Metadata) -> str:
    """The tables as they are in a terminal, without their frames."""
    file = io.StringIO()
    console = Console(width=120, file=file)
    for table in findings.tables(metadata):
        console.print(table)
    return re.sub(r"[ │┃]+", " ", file.getvalue())


def test_without_figures_there_is_no_section_and_no_table() -> None:
    assert findings.sections(METADATA) == []
    assert findings.tables(METADATA) == []


def test_calibration_shows_the_error_before_and_after_the_temperature_and_the_picture() -> None:
    text = sections(measures={"calibration": CALIBRATION})
    assert text.startswith("## Calibration\n\nThe temperature divides the logits before the softmax.")
    assert "| as the network gives them | 25.00% |\n| at temperature 1.5 | **12.50%** |\n\n![" in text
    assert "(reliability.png)" in text
    assert "the 10 validation pictures" in text


def test_robustness_has_a_row_for_each_change_after_the_unchanged_pictures() -> None:
    text = sections(measures={"robustness": ROBUSTNESS})
    assert "the 2,000 test pictures of `pets`" in text
    assert text.splitlines()[-5:] == [
        "| change | strengths | mild | medium | strong |",
        "| --- | --- | --- | --- | --- |",
        "| unchanged |  | 87.50% |  |  |",
        "| JPEG (quality) | 40, 20, 10 | 75.00% | 50.00% | 25.00% |",
        "| blur (sigma) | 0.5, 0.75, 1 | 80.00% | 70.00% | 60.00% |",
    ]


def test_a_threshold_is_told_before_anything_was_measured_with_it() -> None:
    text = sections(energy_threshold=-2.5)
    assert text.startswith("## The unknown\n")
    assert "is above -2.5000." in text
    assert "|" not in text


def test_the_unknown_has_the_share_of_each_set_that_is_flagged() -> None:
    text = sections(energy_threshold=-2.5, measures={"unknown": UNKNOWN})
    assert "| test pictures of pets | 2,000 | 4.50% |\n| uniform noise | 400 | 99.75% |\n" in text


def test_the_terminal_shows_the_same_rows() -> None:
    text = printed(replace(METADATA, energy_threshold=-2.5, measures={"robustness": ROBUSTNESS, "unknown": UNKNOWN}))
    assert " JPEG (quality) 40, 20, 10 75.00% 50.00% 25.00% " in text
    assert "flagged as unknown: energy above -2.500" in text
    assert " uniform noise 400 99.75% " in text


def test_the_sections_stand_between_accuracy_and_making(quick_run: Result) -> None:
    metadata = replace(quick_run.metadata, measures=quick_run.metadata.measures | {"robustness": ROBUSTNESS})
    headings = re.findall(r"^## (.*)$", model_card("quick", metadata), re.MULTILINE)
    assert headings == ["Accuracy", "Calibration", "Robustness", "The unknown", "How it was made", "Limits"]


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
