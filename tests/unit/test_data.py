"""Data sets: what the loaders read, how pictures are held out, and the statistics that normalise them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from training.data import folder, sources
from training.data.dataset import DataError, Split


def split(counts: list[int]) -> Split:
    """`counts[k]` pictures of class k, shuffled; the pixels of picture i encode i."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    return Split(torch.arange(len(labels))[:, None, None, None], labels)


def numbers(part: Split) -> list[int]:
    return part.images.flatten().tolist()


def colour(path: Path, value: tuple[int, int, int], size: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), value).save(path)


class FakeArchive:
    """Stands for torchvision's data sets: three pictures of 32x32, grey (`data` a tensor) or in colour (an array)."""

    classes = ("first", "second")
    channels = 3

    def __init__(self, root: str, *, train: bool, download: bool) -> None:
        assert Path(root).name == "archive"
        assert download
        grey = torch.full((3, 32, 32), 200 if train else 100, dtype=torch.uint8)
        self.data: Any = grey if self.channels == 1 else grey.numpy()[..., np.newaxis].repeat(3, axis=3)
        self.targets = [0, 1, 1]


class GreyArchive(FakeArchive):
    channels = 1


def unreachable(*_: Any, **__: Any) -> None:
    raise OSError("no route to host")


def test_fit_and_held_out_pictures_are_disjoint_and_complete() -> None:
    fit, held = sources.hold_out(split([50, 30, 20]), 0.1, seed=0)
    assert sorted(numbers(fit) + numbers(held)) == list(range(100))


def test_a_tenth_of_every_class_is_held_out() -> None:
    _, held = sources.hold_out(split([50, 30, 20]), 0.1, seed=0)
    assert held.labels.bincount().tolist() == [5, 3, 2]


def test_a_small_class_still_has_one_picture_held_out() -> None:
    fit, held = sources.hold_out(split([20, 2]), 0.1, seed=0)
    assert (fit.labels.bincount().tolist(), held.labels.bincount().tolist()) == ([18, 1], [2, 1])


def test_held_out_pictures_keep_their_labels() -> None:
    whole = split([50, 30])
    for part in sources.hold_out(whole, 0.1, seed=0):
        assert part.labels.tolist() == whole.labels[numbers(part)].tolist()


def test_the_same_seed_holds_out_the_same_pictures() -> None:
    assert numbers(sources.hold_out(split([50, 50]), 0.1, seed=3)[1]) == numbers(
        sources.hold_out(split([50, 50]), 0.1, seed=3)[1]
    )


def test_another_seed_holds_out_other_pictures() -> None:
    assert numbers(sources.hold_out(split([50, 50]), 0.1, seed=3)[1]) != numbers(
        sources.hold_out(split([50, 50]), 0.1, seed=4)[1]
    )


def test_a_limit_draws_that_many_different_pictures() -> None:
    assert len(set(numbers(sources.limit(split([100]), 10, seed=0)))) == 10


def test_a_limit_draws_by_its_seed() -> None:
    drawn = [numbers(sources.limit(split([100]), 10, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("count", [None, 100, 1000])
def test_a_limit_beyond_the_pictures_keeps_all(count: int | None) -> None:
    assert numbers(sources.limit(split([100]), count, seed=0)) == list(range(100))


def test_channel_statistics_are_those_of_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8) // np.array([1, 2, 4], np.uint8)
    mean, std = sources.channel_statistics(torch.from_numpy(images))
    assert mean == pytest.approx(images.mean((0, 1, 2)) / 255, abs=5e-5)
    assert std == pytest.approx(images.std((0, 1, 2)) / 255, abs=5e-5)


def test_a_channel_that_never_varies_is_divided_by_one() -> None:
    mean, std = sources.channel_statistics(torch.full((2, 4, 4, 1), 51, dtype=torch.uint8))
    assert (mean, std) == ((0.2,), (1.0,))


def test_a_folder_gives_classes_labels_and_pixels(tmp_path: Path) -> None:
    for part in ("train", "test"):
        colour(tmp_path / part / "red" / "1.png", (255, 0, 0))
        colour(tmp_path / part / "blue" / "1.PNG", (0, 0, 255), size=50)
        (tmp_path / part / "blue" / "notes.txt").write_text("not a picture")
    dataset = sources.load("folder", tmp_path)
    assert (dataset.name, dataset.classes) == (tmp_path.name, ("blue", "red"))
    assert (dataset.size, dataset.channels) == (32, 3)
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == [0, 1]
    assert dataset.train.images[:, 16, 16].tolist() == [[0, 0, 255], [255, 0, 0]]


def test_a_folder_is_scaled_to_the_wanted_size(tmp_path: Path) -> None:
    for path in ("train/a/1.jpg", "train/b/1.jpeg", "test/a/1.jpg", "test/b/1.jpg"):
        colour(tmp_path / path, (9, 9, 9))
    dataset = sources.load("folder", tmp_path, size=48)
    assert dataset.train.images.shape == (2, 48, 48, 3)
    assert dataset.train.images.dtype == torch.uint8


def test_synthetic_pictures_are_the_same_every_time_and_even_over_classes() -> None:
    first, second = (sources.load("synthetic", None, size=20) for _ in range(2))
    assert torch.equal(first.train.images, second.train.images)
    assert first.train.labels.bincount().tolist() == [200] * 10
    assert (first.size, len(first.test)) == (20, 500)


@pytest.mark.parametrize(
    ("kind", "archive", "fake", "channels"),
    [("cifar10", "CIFAR10", FakeArchive, 3), ("fashion-mnist", "FashionMNIST", GreyArchive, 1)],
)
@pytest.mark.parametrize("size", [32, 20])
def test_an_archive_gives_its_pictures_at_the_wanted_size(
    kind: str, archive: str, fake: type[FakeArchive], channels: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"torchvision.datasets.{archive}", fake)
    dataset = sources.load(kind, Path("archive"), size=size)
    assert (dataset.name, dataset.classes) == (kind, ("first", "second"))
    assert dataset.train.images.unique().tolist() == [200]
    assert dataset.test.images.shape == (3, size, size, channels)
    assert dataset.test.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("kind", "archive"), [("cifar10", "CIFAR10"), ("fashion-mnist", "FashionMNIST")])
def test_an_archive_that_cannot_be_downloaded_is_named(
    kind: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"torchvision.datasets.{archive}", unreachable)
    with pytest.raises(DataError, match=r"nowhere.*could not be downloaded \(no route to host\)"):
        sources.load(kind, Path("nowhere"))


def test_large_files_are_read_in_threads_and_stay_in_order(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 96, 96, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / "many" / ("train" if number < 8 else "test") / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        assert path.stat().st_size > folder.SMALL_FILE
    train = sources.load("folder", tmp_path / "many", size=96).train
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.array_equal(train.images.numpy(), noise[[0, 2, 4, 6, 1, 3, 5, 7]])


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for part, name in [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")]:
        for number in range(2):
            colour(tmp_path / part / name / f"{number}.png", (number, 0, 0))
        (tmp_path / part / name / "._0.png").write_bytes(b"left by a file manager")
    assert len(sources.load("folder", tmp_path).train) == 4
