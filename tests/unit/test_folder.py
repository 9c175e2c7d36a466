"""Reading DIR/train/CLASS/*: which files are pictures, what becomes of them, and what is said of the others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.sets import SIZE, cats_and_dogs, reds, save
from training.data import folder
from training.data.dataset import DataError, Dataset


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path / "pets")


def spoil(*paths: Path) -> None:
    """Leave files that are called pictures and are none."""
    for path in paths:
        path.write_bytes(b"no picture")


def load(directory: Path, *, skip_corrupt: bool = False) -> Dataset:
    return folder.load(directory, SIZE, skip_corrupt=skip_corrupt)


def refusal(directory: Path, *, skip_corrupt: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        load(directory, skip_corrupt=skip_corrupt)
    return str(caught.value)


def test_labels_number_the_classes_in_alphabetical_order(pets: Path) -> None:
    dataset = load(pets)
    assert dataset.classes == ("cat", "dog")
    assert (dataset.train.labels.tolist(), reds(dataset.train)) == ([0, 0, 1, 1], [11, 12, 21, 22])
    assert (dataset.test.labels.tolist(), reds(dataset.test)) == ([0, 1], [111, 121])


def test_a_class_added_in_front_moves_the_labels_of_the_others(pets: Path) -> None:
    for part in ("train", "test"):
        save(pets / part / "ape" / "1.png", 1)
    assert load(pets).classes == ("ape", "cat", "dog")
    assert load(pets).train.labels.tolist() == [0, 1, 1, 2, 2]


def test_pictures_of_a_class_come_in_the_order_of_their_names(pets: Path) -> None:
    save(pets / "train" / "cat" / "10.png", 10)
    assert reds(load(pets).train)[:3] == [11, 10, 12]


def test_the_set_is_called_as_its_folder(pets: Path) -> None:
    assert load(pets).name == "pets"


@pytest.mark.parametrize("name", ["3.png", "3.PNG", "3.jpg", "3.JPG", "3.jpeg", "3.JpEg"])
def test_a_picture_is_known_by_its_ending_in_any_case(name: str, pets: Path) -> None:
    save(pets / "train" / "cat" / name, 30)
    dataset = load(pets)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert reds(dataset.train)[2] == pytest.approx(30, abs=2)
    assert dataset.notes == ()


@pytest.mark.parametrize("shape", [(3, 3), (50, 20), (300, 300)])
def test_pictures_of_other_sizes_are_scaled_to_the_wanted_square(shape: tuple[int, int], pets: Path) -> None:
    Image.new("RGB", shape, (30, 60, 90)).save(pets / "train" / "cat" / "3.png")
    images = load(pets).train.images
    assert (images.shape, images.dtype) == ((5, SIZE, SIZE, 3), torch.uint8)
    assert images[2].reshape(-1, 3).unique(dim=0).tolist() == [[30, 60, 90]]


def palette() -> Image.Image:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 30, 60, 90])
    return image


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        pytest.param(Image.new("L", (SIZE, SIZE), 77), [77, 77, 77], id="grey"),
        pytest.param(Image.new("1", (SIZE, SIZE), 1), [255, 255, 255], id="black and white"),
        pytest.param(palette(), [30, 60, 90], id="palette"),
        pytest.param(Image.fromarray(np.full((SIZE, SIZE), 100 * 257, np.uint16)), [100, 100, 100], id="16 bits"),
        pytest.param(Image.new("RGBA", (SIZE, SIZE), (30, 60, 90, 255)), [30, 60, 90], id="opaque"),
        pytest.param(Image.new("RGBA", (SIZE, SIZE), (30, 60, 90, 0)), [255, 255, 255], id="transparent: over white"),
    ],
)
def test_every_kind_of_picture_becomes_eight_bit_rgb(picture: Image.Image, colour: list[int], pets: Path) -> None:
    picture.save(pets / "train" / "cat" / "3.png")
    assert load(pets).train.images[2].reshape(-1, 3).unique(dim=0).tolist() == [colour]


def test_hidden_files_and_folders_are_ignored_silently(pets: Path) -> None:
    spoil(pets / "train" / "cat" / ".1.png", pets / "train" / "dog" / ".DS_Store")
    save(pets / "train" / ".thumbnails" / "1.png", 99)
    dataset = load(pets)
    assert (dataset.classes, reds(dataset.train), dataset.notes) == (("cat", "dog"), [11, 12, 21, 22], ())


def test_other_files_and_folders_are_ignored_and_named(pets: Path) -> None:
    spoil(pets / "train" / "cat" / "notes.txt", pets / "test" / "dog" / "3.webp")
    save(pets / "train" / "dog" / "small" / "1.png", 99)
    dataset = load(pets)
    assert reds(dataset.train) == [11, 12, 21, 22]
    ignored = [pets / "train" / "cat" / "notes.txt", pets / "train" / "dog" / "small", pets / "test" / "dog" / "3.webp"]
    assert dataset.notes == (f"ignored 3 that are no JPEG or PNG file: {'; '.join(map(str, ignored))}",)


def test_at_most_five_of_the_ignored_are_named(pets: Path) -> None:
    spoil(*(pets / "train" / "cat" / f"{number}.txt" for number in range(7)))
    (note,) = load(pets).notes
    assert note.startswith("ignored 7 that are no JPEG or PNG file")
    assert note.endswith("4.txt; and 2 more")


def test_a_corrupt_picture_is_named_with_the_way_out(pets: Path) -> None:
    broken = pets / "train" / "dog" / "2.png"
    spoil(broken)
    message = refusal(pets)
    assert message.startswith(f"{broken} is not a readable picture (")
    assert message.endswith("; remove or replace what is broken, or leave it out with --skip-corrupt")


def test_all_corrupt_pictures_of_a_part_are_named_in_one_message(pets: Path) -> None:
    broken = [pets / "train" / "cat" / "1.png", pets / "train" / "dog" / "2.png"]
    spoil(*broken)
    message = refusal(pets)
    assert all(f"{path} is not a readable picture" in message for path in broken)
    assert "more" not in message


@pytest.mark.parametrize(("count", "named", "ending"), [(5, 5, ""), (6, 5, "; and 1 more"), (9, 5, "; and 4 more")])
def test_at_most_five_corrupt_pictures_are_named(count: int, named: int, ending: str, pets: Path) -> None:
    spoil(*(pets / "train" / "cat" / f"broken-{number}.png" for number in range(count)))
    message = refusal(pets)
    assert message.count("is not a readable picture") == named
    assert f"){ending}; remove or replace what is broken" in message


def test_skipping_leaves_corrupt_pictures_out_and_the_labels_right(pets: Path) -> None:
    spoil(pets / "train" / "cat" / "1.png", pets / "train" / "dog" / "2.png", pets / "test" / "dog" / "100.png")
    dataset = load(pets, skip_corrupt=True)
    assert (reds(dataset.train), dataset.train.labels.tolist()) == ([12, 21], [0, 1])
    assert (reds(dataset.test), dataset.test.labels.tolist()) == ([111, 121], [0, 1])


def test_skipped_pictures_are_counted_and_named(pets: Path) -> None:
    broken = pets / "train" / "cat" / "1.png"
    spoil(broken)
    (note,) = load(pets, skip_corrupt=True).notes
    assert note.startswith(f"skipped 1 of 4 pictures: {broken} is not a readable picture (")


def test_of_many_skipped_pictures_five_are_named(pets: Path) -> None:
    spoil(*(pets / "train" / "cat" / f"broken-{number}.png" for number in range(8)))
    (note,) = load(pets, skip_corrupt=True).notes
    assert note.startswith("skipped 8 of 12 pictures: ")
    assert note.endswith("; and 3 more")


def test_skipped_test_pictures_are_told_too(pets: Path) -> None:
    spoil(pets / "train" / "cat" / "1.png", pets / "test" / "cat" / "broken.png")
    notes = load(pets, skip_corrupt=True).notes
    assert [note.partition(":")[0] for note in notes] == ["skipped 1 of 4 pictures", "skipped 1 of 3 pictures"]


def test_without_corrupt_pictures_skipping_changes_nothing(pets: Path) -> None:
    assert reds(load(pets, skip_corrupt=True).train) == reds(load(pets).train)
    assert load(pets, skip_corrupt=True).notes == ()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_one_readable_picture_is_refused_even_then(part: str, pets: Path) -> None:
    spoil(*(pets / part / "dog").iterdir())
    assert refusal(pets, skip_corrupt=True) == (
        f"{pets / part / 'dog'} holds no readable picture; add some or remove the class"
    )


def test_a_class_of_other_files_only_is_refused(pets: Path) -> None:
    shutil.rmtree(pets / "test" / "dog")
    (pets / "test" / "dog").mkdir()
    spoil(pets / "test" / "dog" / "1.gif")
    assert refusal(pets) == f"{pets / 'test' / 'dog'} holds no JPEG or PNG picture; add some or remove the class"
