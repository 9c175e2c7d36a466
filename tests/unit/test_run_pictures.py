"""The pictures that a run leaves: files that open, and what they show."""

import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.unit.runs import RECIPE
from tests.unit.runs import pictures as runs_pictures
from training import calibration, checkpoint, evaluate, loop
from training.calibration import Calibration
from training.data.dataset import Split
from training.loop import Result
from training.reports import pictures

CLASSES = ("cat", "dog", "frog")
NONE = torch.zeros(0, 8, 8, 3, dtype=torch.uint8)
CAPTIONED = pictures.TILE + pictures.CAPTION


def opened(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def plain(*reds: int) -> Tensor:
    """A picture of one colour for each red."""
    colours = torch.tensor([[red, 0, 0] for red in reds], dtype=torch.uint8)
    return colours[:, None, None, :].expand(-1, 8, 8, 3)


def reds(sheet: Image.Image, count: int, row_height: int) -> list[int]:
    """The red in the middle of each of the first tiles."""
    middle = pictures.TILE // 2
    places = [(pictures.TILE * (n % 9) + middle, row_height * (n // 9) + middle) for n in range(count)]
    return [int(sheet.load()[place][0]) for place in places]  # type: ignore[index]


def answered(confidences: list[float]) -> Tensor:
    """Probabilities of three classes; every answer is a dog."""
    return torch.tensor([[(1 - share) / 2, share, (1 - share) / 2] for share in confidences])


def epoch(number: int) -> dict[str, float]:
    measures = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
    return {"epoch": number} | dict.fromkeys(measures, 1 / number)


def held_out() -> Split:
    """The pictures that a quick run selects on."""
    return loop.part(RECIPE, runs_pictures(), seed=0).held


def test_a_grid_shows_pictures_row_by_row() -> None:
    sheet = opened(pictures.grid(plain(*range(10, 130, 10))))
    assert sheet.size == (9 * pictures.TILE, 2 * pictures.TILE)
    assert reds(sheet, 12, pictures.TILE) == list(range(10, 130, 10))


def test_a_grid_leaves_room_for_captions() -> None:
    sheet = opened(pictures.grid(plain(10, 20), ["one", "two"]))
    assert sheet.size == (2 * pictures.TILE, CAPTIONED)
    assert reds(sheet, 2, CAPTIONED) == [10, 20]


def test_a_grid_shows_grey_pictures() -> None:
    sheet = opened(pictures.grid(torch.full((1, 8, 8, 1), 90, dtype=torch.uint8)))
    middle = (pictures.TILE // 2, pictures.TILE // 2)
    assert sheet.getpixel(middle) == (90, 90, 90)


def test_a_grid_of_nothing_says_so() -> None:
    sheet = opened(pictures.grid(NONE))
    assert len(set(sheet.convert("L").tobytes())) > 1


def test_mistakes_are_shown_worst_first_and_right_answers_not_at_all() -> None:
    labels = torch.tensor([0, 1, 2, 0])  # the second one is a dog indeed
    sheet = opened(pictures.mistakes(plain(10, 20, 30, 40), labels, answered([0.5, 0.99, 0.9, 0.7]), CLASSES))
    assert sheet.size == (3 * pictures.TILE, CAPTIONED)
    assert reds(sheet, 3, CAPTIONED) == [30, 40, 10]


def test_at_most_36_mistakes_are_shown() -> None:
    labels, confidences = torch.zeros(50, dtype=torch.long), torch.linspace(0.4, 0.9, 50).tolist()
    sheet = opened(pictures.mistakes(plain(*range(100, 150)), labels, answered(confidences), CLASSES))
    assert sheet.size == (9 * pictures.TILE, 4 * CAPTIONED)
    assert reds(sheet, 36, CAPTIONED) == list(range(149, 113, -1))


def test_without_mistakes_the_picture_says_so() -> None:
    right = torch.ones(2, dtype=torch.long)
    found = pictures.mistakes(plain(10, 20), right, answered([0.9, 0.8]), CLASSES)
    assert found == pictures.grid(NONE, empty="no mistakes")
    assert found != pictures.grid(NONE)


def test_mistakes_among_grey_pictures_are_shown() -> None:
    grey = torch.full((1, 8, 8, 1), 90, dtype=torch.uint8)
    sheet = opened(pictures.mistakes(grey, torch.tensor([0]), answered([0.9]), CLASSES))
    assert reds(sheet, 1, CAPTIONED) == [90]


def test_long_names_and_names_of_other_scripts_fit_a_caption() -> None:
    classes = ("a" * 200, "Katze äöü", "猫")
    assert opened(pictures.mistakes(plain(10), torch.tensor([2]), answered([0.9]), classes)).width == 120


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(torch.tensor([[3, 1, 0], [0, 0, 0], [2, 2, 9]]), id="a class without pictures"),
        pytest.param(torch.zeros(3, 3, dtype=torch.long), id="no pictures"),
    ],
)
def test_a_confusion_matrix_is_a_picture(counts: Tensor) -> None:
    assert opened(pictures.confusion(counts, CLASSES)).width > 400


@pytest.mark.parametrize("number", [2, 61, 300])
def test_a_confusion_matrix_of_many_classes_stays_a_picture_one_can_open(number: int) -> None:
    image = opened(pictures.confusion(torch.eye(number, dtype=torch.long), [f"class {n}" for n in range(number)]))
    assert max(image.size) <= 120 * 25.5


def test_another_confusion_is_another_picture() -> None:
    first, second = torch.tensor([[2, 0], [0, 2]]), torch.tensor([[1, 1], [0, 2]])
    assert pictures.confusion(first, ("a", "b")) != pictures.confusion(second, ("a", "b"))
    assert pictures.confusion(first, ("a", "b")) == pictures.confusion(first, ("a", "b"))


def calibrated(confidences: list[float], labels: list[int], temperature: float = 2.0) -> Calibration:
    """The calibration of three classes' logits that give these confidences to the second."""
    return calibration.measure(answered(confidences).log(), torch.tensor(labels), temperature)


@pytest.mark.parametrize(
    ("confidences", "labels"),
    [
        pytest.param([0.9], [1], id="one picture"),
        pytest.param([0.4, 0.5, 0.6, 0.99], [0, 1, 1, 2], id="too sure and not sure enough"),
        pytest.param([0.99] * 4, [0] * 4, id="nothing right"),
    ],
)
def test_reliability_is_a_picture_whatever_the_bins_hold(confidences: list[float], labels: list[int]) -> None:
    found = calibrated(confidences, labels)
    assert opened(pictures.reliability(found)).size == (1080, 600)
    assert pictures.reliability(found) == pictures.reliability(found)


def test_another_accuracy_number_or_temperature_is_another_picture_of_reliability() -> None:
    drawn = {
        pictures.reliability(found)
        for found in (
            calibrated([0.9, 0.8], [1, 1]),
            calibrated([0.9, 0.8], [1, 0]),
            calibrated([0.9, 0.9, 0.8], [1, 1, 1]),
            calibrated([0.9, 0.8], [1, 1], temperature=1.5),
        )
    }
    assert len(drawn) == 4


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_curves_are_a_picture_whatever_the_number_of_epochs(epochs: int) -> None:
    history = [epoch(number) for number in range(1, epochs + 1)]
    assert opened(pictures.curves(history)).size == (1080, 432)
    assert pictures.curves(history) == pictures.curves(history)


@pytest.mark.parametrize("name", ["curves", "confusion", "mistakes", "reliability"])
def test_a_run_leaves_its_pictures(name: str, quick_run: Result) -> None:
    image = opened((quick_run.path.parent / f"{name}.png").read_bytes())
    assert min(image.size) > 0


def test_a_runs_mistakes_are_among_the_pictures_held_out(quick_run: Result) -> None:
    classifier, held = checkpoint.load(quick_run.path).build_classifier(), held_out()
    logits = evaluate.predict(classifier.network, classifier.preprocess, held.images)
    wrong = int((logits.argmax(dim=1) != held.labels).sum())
    sheet = opened((quick_run.path.parent / "mistakes.png").read_bytes())
    assert sheet.height == -(-wrong // 9) * CAPTIONED
