"""Every picture gets its own answer, in its own place, whatever its neighbours are."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from anyio import to_thread
from numpy.typing import NDArray
from PIL import Image

from export.bundle import Bundle, Outputs
from service.pictures.classify import Upload
from service.settings import Settings
from tests.unit.fakes import BUNDLE, CLASSES, SIZE, TELLING, ChannelEngine, classified, encoded, owner, png
from training.pixels import Pixels

MAX_BATCH = Settings.max_batch


class FixedEngine(ChannelEngine):
    """Gives every picture the same probabilities."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self._row: NDArray[np.float32] = np.array(probabilities, dtype=np.float32)

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        rows = np.tile(self._row, (len(images), 1))
        return Outputs(rows, rows)


def answers(contents: list[bytes], engine: ChannelEngine | None = None, top_k: int = 3) -> list[Any]:
    uploads = [Upload(str(number), content) for number, content in enumerate(contents)]
    return classified(uploads, engine, top_k=top_k)


def test_a_prediction_names_the_file_the_best_class_and_the_next_ones() -> None:
    assert answers([png(64, 128, 32)], top_k=2) == [
        {
            "filename": "0",
            "label": "green",
            "class_id": 1,
            "probability": 0.5,
            "top": [
                {"label": "green", "class_id": 1, "probability": 0.5},
                {"label": "red", "class_id": 0, "probability": 0.25},
            ],
        }
    ]


@pytest.mark.parametrize("seed", range(5))
def test_each_picture_of_a_random_mixture_gets_its_own_answer(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reds = [int(red) for red in generator.integers(0, 256, size=generator.integers(1, 3 * MAX_BATCH))]
    bad = set(generator.choice(len(reds), size=len(reds) // 3, replace=False).tolist())
    contents = [b"not a picture" if place in bad else png(red) for place, red in enumerate(reds)]

    found = answers(contents)

    assert [entry["filename"] for entry in found] == [str(place) for place in range(len(reds))]
    assert {place for place, entry in enumerate(found) if "error" in entry} == bad
    expected = {place: red for place, red in enumerate(reds) if place not in bad}
    assert {place: owner(entry) for place, entry in enumerate(found) if "error" not in entry} == expected


def test_a_bad_picture_has_an_error_and_nothing_else() -> None:
    bad = answers([png(1), b"", png(2)])[1]
    assert bad == {"filename": "1", "error": "the file is empty"}


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were handed to a thread, each time that any were."""
    handed: list[int] = []

    async def watched(function: Any, uploads: Any, *rest: Any) -> Any:
        handed.append(len(uploads))
        return await to_thread.run_sync(function, uploads, *rest)

    monkeypatch.setattr("service.pictures.classify.to_thread", SimpleNamespace(run_sync=watched))
    return handed


def padded(content: bytes, length: int) -> bytes:
    """The same picture in a longer file."""
    return content.ljust(length, b"\0")


@pytest.mark.parametrize(
    ("contents", "handed"),
    [
        ([png(1), png(2)], []),
        ([png(1), b"text", b""], []),
        ([padded(png(1), 8192)], []),
        ([padded(png(1), 8193)], [1]),
        ([padded(png(1), 4096), padded(png(2), 4096)], []),
        ([padded(png(1), 4096), padded(png(2), 4097)], [2]),
        ([png(1), encoded(Image.new("RGB", (128, 128)), "PNG")], []),
        ([png(1), encoded(Image.new("RGB", (129, 128)), "PNG")], [2]),
    ],
)
def test_a_thread_decodes_what_is_not_tiny(contents: list[bytes], handed: list[int], in_threads: list[int]) -> None:
    answers(contents)
    assert in_threads == handed


def test_a_small_file_of_too_many_pixels_is_refused_with_the_limit_of_the_settings() -> None:
    content = encoded(Image.new("L", (1001, 1000)), "PNG")
    uploads = [Upload("0", content), Upload("1", png(1))]
    refused, answered = classified(uploads, max_megapixels=1)
    assert "1001x1000 pixels, more than the 1,000,000 allowed" in refused["error"]
    assert owner(answered) == 1


def test_bad_pictures_never_reach_the_engine() -> None:
    engine = ChannelEngine()
    answers([b"", png(1), b"text", png(2)], engine)
    assert engine.batches == [2]


def test_the_engine_is_left_alone_when_no_picture_is_good() -> None:
    engine = ChannelEngine()
    assert [entry["error"] for entry in answers([b"", b""], engine)] == ["the file is empty"] * 2
    assert engine.batches == []


def test_more_pictures_than_a_batch_takes_are_answered_in_order() -> None:
    engine = ChannelEngine()
    found = answers([png(red) for red in range(2 * MAX_BATCH + 1)], engine)
    assert engine.batches == [MAX_BATCH, MAX_BATCH, 1]
    assert [owner(entry) for entry in found] == list(range(2 * MAX_BATCH + 1))


def test_an_answer_does_not_depend_on_what_else_is_in_the_request() -> None:
    contents = [png(red, 255 - red, 7) for red in range(0, 256, 51)]
    together = [{**entry, "filename": "0"} for entry in answers(contents)]
    assert together == [answers([content])[0] for content in contents]


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_top_holds_as_many_classes_as_asked_for_best_first(top_k: int) -> None:
    (entry,) = answers([png(0)], FixedEngine(0.125, 0.625, 0.25), top_k)
    assert [best["label"] for best in entry["top"]] == ["green", "blue", "red"][:top_k]
    assert [best["probability"] for best in entry["top"]] == [0.625, 0.25, 0.125][:top_k]


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        ((0.25, 0.25, 0.25), ["red", "green", "blue"]),
        ((0.25, 0.375, 0.375), ["green", "blue", "red"]),
        ((0.375, 0.25, 0.375), ["red", "blue", "green"]),
    ],
)
def test_equal_probabilities_keep_the_order_of_the_classes(probabilities: tuple[float, ...], labels: list[str]) -> None:
    (entry,) = answers([png(0)], FixedEngine(*probabilities))
    assert [best["label"] for best in entry["top"]] == labels


def test_equal_probabilities_keep_the_order_of_many_classes_too() -> None:
    # Sorting that is not stable shows only from seventeen classes on.
    names = [f"class {number}" for number in range(40)]
    many = replace(BUNDLE, document={**BUNDLE.document, "classes": names})
    engine = FixedEngine(*[0.5 if number % 2 else 0.25 for number in range(40)])
    (entry,) = classified([Upload(None, png(0))], engine, many, top_k=40)
    assert [best["label"] for best in entry["top"]] == names[1::2] + names[::2]


def test_class_ids_are_places_in_the_list_of_classes() -> None:
    (entry,) = answers([png(1, 2, 3)])
    assert all(CLASSES[best["class_id"]] == best["label"] for best in entry["top"])


def test_the_best_class_is_repeated_as_the_first_of_top() -> None:
    (entry,) = answers([png(1, 2, 3)])
    assert {key: entry[key] for key in ("label", "class_id", "probability")} == entry["top"][0]


def test_probabilities_are_rounded_to_six_digits() -> None:
    (entry,) = answers([png(0)], FixedEngine(1 / 3, 0, 0), 1)
    assert entry["probability"] == 0.333333


def told(contents: list[bytes], bundle: Bundle = TELLING, top_k: int = 3) -> list[Any]:
    """What predictions say of being unknown; None where they say nothing."""
    uploads = [Upload(None, content) for content in contents]
    found = classified(uploads, bundle=bundle, top_k=top_k)
    return [entry.get("unknown") for entry in found]


def test_a_picture_on_the_threshold_is_not_unknown_and_one_just_above_it_is() -> None:
    assert told([png(101), png(100), png(99)]) == [False, False, True]


def test_the_energy_is_that_of_all_logits_and_not_the_largest_alone() -> None:
    # Two classes at 99.5 have together the energy -(99.5 + ln 2), which is below -100.
    two = Image.new("RGB", (SIZE, SIZE), (99, 99, 0))
    two.paste((100, 100, 0), (0, 0, SIZE, SIZE // 2))
    assert told([png(99), encoded(two, "PNG")]) == [True, False]


def test_a_bundle_without_a_threshold_says_nothing_of_the_unknown() -> None:
    for document in (BUNDLE.document, {**BUNDLE.document, "energy_threshold": None}):
        bundle = replace(BUNDLE, document=document)
        (entry,) = classified([Upload(None, png(1))], bundle=bundle)
        assert "unknown" not in entry


def test_an_unknown_picture_still_gets_its_classes() -> None:
    (entry,) = classified([Upload("x", png(99))], bundle=TELLING, top_k=2)
    (plain,) = classified([Upload("x", png(99))], top_k=2)
    assert entry == {**plain, "unknown": True}


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_how_many_classes_are_asked_for_does_not_matter_to_the_unknown(top_k: int) -> None:
    assert told([png(100), png(99)], top_k=top_k) == [False, True]


@pytest.mark.parametrize("seed", range(3))
def test_each_picture_of_a_random_mixture_is_judged_by_itself(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reds = generator.integers(60, 140, size=2 * MAX_BATCH + 5).tolist()
    bad = set(generator.choice(len(reds), size=len(reds) // 3, replace=False).tolist())
    contents = [b"not a picture" if place in bad else png(red) for place, red in enumerate(reds)]
    assert told(contents) == [None if place in bad else red < 100 for place, red in enumerate(reds)]


def test_no_upload_gives_no_answer() -> None:
    assert answers([]) == []
