"""A ladder's table and picture, from a result made by hand."""

import io
from typing import Any

import pytest
from PIL import Image

from training.ladders import page

PROVENANCE = {"commit": "abc", "device": "cpu (Z80), 1 threads, fp32", "versions": {"torch": "2.14", "python": "3.11"}}


def epoch(number: int, train: float, validation: float, *readings: tuple[float, float, float]) -> dict[str, Any]:
    """An epoch by its two accuracies and its readings: share of the epoch, loss, accuracy."""
    return {
        "epoch": number,
        "train_loss": 2.0 / number,
        "validation_loss": 2.5 / number,
        "train_accuracy": train,
        "validation_accuracy": validation,
        "readings": [list(reading) for reading in readings],
    }


def rung(name: str, *history: dict[str, Any], test: float = 0.6125, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "recipe": {"stages": [{"epochs": 1}, {"epochs": 2}]},
        "reported": {"held_out": None, "train": None, "note": ""},
        "pictures": {"name": "cifar10", "fit": 45_000, "validation": 5_000, "test": 10_000},
        "parameters": 296_130,
        "accuracy": {"validation": 0.5, "test": test},
        "seconds": 90.0,
        "provenance": PROVENANCE,
        "history": list(history) or [epoch(1, 0.25, 0.375), epoch(2, 0.625, 0.5), epoch(3, 0.75, 0.4375)],
    } | changes


# ReLU has half of its answers right after half an epoch, tanh after two; it gets no further.
RELU = rung(
    "relu",
    epoch(1, 0.5, 0.5, (0.25, 2.0, 0.25), (0.5, 1.5, 0.5), (1.0, 1.0, 0.625)),
    epoch(2, 0.75, 0.625, (0.5, 0.8, 0.75), (1.0, 0.5, 0.875)),
)
TANH = rung(
    "tanh",
    epoch(1, 0.25, 0.25, (0.5, 2.0, 0.125), (1.0, 2.0, 0.25)),
    epoch(2, 0.5, 0.5, (0.5, 2.0, 0.375), (1.0, 1.5, 0.5)),
)
DIVERGED = {
    "name": "fast",
    "recipe": {"stages": [{"epochs": 3}]},
    "reported": {"held_out": 0.75, "train": 0.89, "note": ""},
    "diverged": "the loss became nan",
}


def result(*rungs: dict[str, Any]) -> dict[str, Any]:
    return {"format": 1, "title": "A ladder", "command": ["python", "-m", "training", "ladder"], "rungs": list(rungs)}


def row(entry: dict[str, Any]) -> str:
    """The table's row of a rung."""
    (found,) = (line for line in page.table(result(entry)).splitlines() if line.startswith(f"| {entry['name']}"))
    return found


def test_a_row_shows_the_best_epoch_and_the_test_accuracy_in_bold() -> None:
    assert row(rung("low")) == "| low | 296,130 | 45,000 | 1 + 2 | 62.50% | 50.00% | **61.25%** |  |  | 1.5 |"


def test_a_trial_has_no_test_accuracy() -> None:
    trial = rung("low", pictures={"name": "cifar10", "fit": 100, "validation": 9, "test": 0})
    trial["accuracy"] = {"validation": 0.5}
    assert row(trial) == "| low | 296,130 | 100 | 1 + 2 | 62.50% | 50.00% |  |  |  | 1.5 |"
    assert "100 pictures of cifar10, the test split unread;" in page.table(result(trial))
    assert page.picture(result(trial)).startswith(b"\x89PNG")


def test_a_row_shows_the_documents_figures_where_there_are_any() -> None:
    reported = {"held_out": 0.803, "train": 0.979, "note": "at epoch 60"}
    assert row(rung("low", reported=reported)).endswith("| **61.25%** | 80.30% | 97.90% | 1.5 |")


def test_a_diverged_rung_shows_the_reason_and_the_documents_figures() -> None:
    assert row(DIVERGED) == "| fast |  |  |  |  |  | diverged: the loss became nan | 75.00% | 89.00% |  |"


def test_every_row_has_the_cells_of_the_heading() -> None:
    lines = [line for line in page.table(result(rung("low"), DIVERGED)).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {11}


def test_the_page_tells_title_circumstances_and_command() -> None:
    assert page.table(result(rung("low"), rung("high"))).splitlines()[:5] == [
        "# A ladder",
        "",
        "3 epochs, 45,000 pictures of cifar10, tested on 10,000; cpu (Z80), 1 threads, fp32; 3.0 minutes in all",
        "",
        "`python -m training ladder`",
    ]


def test_circumstances_that_differ_between_rungs_are_all_told() -> None:
    other = rung("high", epoch(1, 0.5, 0.5), pictures={"name": "cifar10", "fit": 100, "validation": 9, "test": 10_000})
    text = page.table(result(rung("low"), other))
    assert "3 or 1 epochs, 45,000 or 100 pictures of cifar10, tested on 10,000;" in text


def test_the_page_ends_with_commit_and_versions() -> None:
    assert page.table(result(rung("low"))).splitlines()[-1] == (
        "Commit abc; python 3.11, torch 2.14. The weights are those of the epoch with the best validation accuracy."
    )


@pytest.mark.parametrize(
    ("error", "epochs"),
    [(0.75, 0.25), (0.5, 0.5), (0.4, 1.0), (0.375, 1.0), (0.25, 1.5), (0.125, 2.0), (0.0625, None)],
)
def test_epochs_to_an_error_end_with_the_first_stretch_that_reached_it(error: float, epochs: float | None) -> None:
    assert page.epochs_to(RELU, error) == epochs


def test_relu_and_tanh_are_compared_at_the_lowest_error_that_both_reach() -> None:
    text = page.table(result(RELU, TANH))
    assert text.count("Training error") == 1
    assert "Training error 50.0%" in text
    assert "`relu` after 0.50 epochs, `tanh` after 2.00, 4.0 times as many." in text


def test_the_comparison_with_batch_norm_stands_by_itself() -> None:
    text = page.table(result(RELU, TANH, RELU | {"name": "relu-bn"}, RELU | {"name": "tanh-bn"}))
    assert text.count("Training error") == 2
    assert "Training error 12.5%" in text
    assert "`relu-bn` after 2.00 epochs, `tanh-bn` after 2.00, 1.0 times as many." in text


@pytest.mark.parametrize("other", [rung("sigmoid"), {**DIVERGED, "name": "tanh"}], ids=["missing", "diverged"])
def test_without_both_rungs_nothing_is_compared(other: dict[str, Any]) -> None:
    assert "Training error" not in page.table(result(RELU, other))


def test_the_picture_is_a_png_that_grows_with_the_rungs() -> None:
    heights = []
    for rungs in ([RELU], [RELU, TANH, DIVERGED], [rung(str(number)) for number in range(9)]):
        with Image.open(io.BytesIO(page.picture(result(*rungs)))) as image:
            image.load()
            assert image.format == "PNG"
            heights.append(image.height)
    assert heights[0] < heights[1] < heights[2]


def test_the_same_result_gives_the_same_picture_byte_by_byte() -> None:
    whole = result(RELU, TANH, rung("low", reported={"held_out": 0.8, "train": None, "note": ""}))
    assert page.picture(whole) == page.picture(whole)


def test_the_documents_figure_is_drawn_where_there_is_one() -> None:
    with_figure = rung("low", reported={"held_out": 0.9, "train": None, "note": ""})
    assert page.picture(result(with_figure)) != page.picture(result(rung("low")))


def test_a_ladder_whose_rungs_all_diverged_still_has_its_page_and_picture() -> None:
    assert "diverged: the loss became nan" in page.table(result(DIVERGED))
    assert page.picture(result(DIVERGED)).startswith(b"\x89PNG")
