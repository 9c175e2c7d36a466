"""Pictures, recipes and folders that nobody can train with: refused by name before any work."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.unit.runs import RECIPE, pictures, quick_train, stop_at_batch
from training import epoch
from training.data import sources
from training.data.dataset import DataError, Split
from training.distributed import Processes
from training.epoch import TrainingError
from training.loop import Extras
from training.recipe import RecipeError
from training.resume import ResumeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good data set of two classes with two pictures each."""
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / name).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a run comes as far as its first batch."""

    def forbidden(*_: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(epoch, "augment", forbidden)


def labelled(*labels: int) -> Split:
    return Split(torch.zeros(len(labels), 8, 8, 3, dtype=torch.uint8), torch.tensor(labels))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_folder_is_named(part: str, folder: Path) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(DataError, match=f"{folder / part} is missing"):
        sources.load("folder", folder)


def test_a_single_class_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "dog")
    with pytest.raises(DataError, match=r"1 class folder\(s\); a classifier needs two"):
        sources.load("folder", folder)


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_folder_is_named(part: str, folder: Path) -> None:
    for picture in (folder / part / "dog").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match=f"{folder / part / 'dog'} holds no JPEG or PNG picture"):
        sources.load("folder", folder)


def test_a_class_without_test_pictures_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "dog")
    with pytest.raises(DataError, match=f"{folder / 'test' / 'dog'} holds no JPEG or PNG picture"):
        sources.load("folder", folder)


def test_a_test_class_that_training_never_saw_is_named(folder: Path) -> None:
    (folder / "test" / "bird").mkdir()
    with pytest.raises(DataError, match=r"classes that .*train lacks: bird"):
        sources.load("folder", folder)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header only"])
def test_a_file_that_is_no_picture_is_named(content: bytes, folder: Path) -> None:
    (folder / "train" / "dog" / "2.png").write_bytes(content)
    with pytest.raises(DataError, match=f"{folder / 'train' / 'dog' / '2.png'} is not a readable picture"):
        sources.load("folder", folder)


def test_an_unreadable_picture_is_refused_with_both_ways_out(folder: Path) -> None:
    (folder / "train" / "dog" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"remove or replace what is broken, or leave it out with --skip-corrupt$"):
        sources.load("folder", folder)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_cut_short_is_named(suffix: str, folder: Path) -> None:
    broken = folder / "test" / "cat" / f"cut.{suffix}"
    Image.effect_noise((64, 64), 50).save(broken)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with pytest.raises(DataError, match=f"{broken} is not a readable picture"):
        sources.load("folder", folder)


def test_a_class_with_a_single_picture_is_refused() -> None:
    with pytest.raises(DataError, match="class number 1 has a single training picture"):
        sources.hold_out(labelled(0, 0, 0, 1), 0.1, seed=0)


@pytest.mark.parametrize("share", [0.75, 0.99])
def test_the_largest_validation_share_leaves_every_class_a_picture_to_fit(share: float) -> None:
    fit, _ = sources.hold_out(labelled(0, 0, 1, 1, 1), share, seed=0)
    assert fit.labels.unique().tolist() == [0, 1]


def test_an_unknown_data_set_is_refused_with_the_valid_names() -> None:
    with pytest.raises(DataError, match="unknown data set 'imagenet'; there are: cifar10, fashion-mnist, folder, synt"):
        sources.load("imagenet", None)


@pytest.mark.usefixtures("no_training")
def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"precious")
    with pytest.raises(TrainingError, match=f"{tmp_path} holds a run already: go on with --resume, or choose another"):
        quick_train(tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == b"precious"


@pytest.mark.usefixtures("no_training")
def test_an_out_folder_that_cannot_be_made_is_found_before_the_first_epoch(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises((TrainingError, OSError), match="file"):
        quick_train(tmp_path / "file")


def test_a_recipe_for_an_unknown_network_is_refused_with_the_valid_names() -> None:
    with pytest.raises(
        RecipeError, match="unknown network 'vgg'; there are: alexnet, alexnet-32, alexnet-32-big, alexnet-bn, compact"
    ):
        RECIPE.changed({"network": "vgg"})


@pytest.mark.usefixtures("no_training")
def test_a_shift_beyond_the_reflected_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="crop_padding 20 must be less than the pictures' side, 20"):
        quick_train(tmp_path / "run", RECIPE.changed({"crop_padding": 20}))


@pytest.mark.usefixtures("no_training")
def test_a_single_picture_to_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="batch norm needs 2 pictures to fit to; there are 1"):
        quick_train(tmp_path / "run", RECIPE.changed({"train_images": 1}))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("count", [9, 291, 301])
def test_validation_pictures_that_leave_a_class_without_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validation_images must be from 10 to 290"):
        quick_train(tmp_path / "run", RECIPE.changed({"validation_images": count}))


@pytest.mark.usefixtures("no_training")
def test_processes_that_cannot_share_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="20 processes need batches of at least 40; one stage has 32"):
        quick_train(tmp_path / "run", extras=Extras(processes=Processes(0, 20)))


@pytest.mark.usefixtures("no_training")
def test_a_cutout_that_blanks_the_whole_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cutout 20 must be less than the pictures' side, 20"):
        quick_train(tmp_path / "run", RECIPE.changed({"cutout": 20}))


def test_pictures_that_changed_since_the_run_stopped_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(4, tmp_path, monkeypatch)
    whole = pictures()
    swapped = replace(whole, train=replace(whole.train, labels=whole.train.labels.roll(1)))
    monkeypatch.setattr("tests.unit.runs.pictures", lambda: swapped)
    with pytest.raises(ResumeError, match="with other settings: data"):
        quick_train(tmp_path, go_on=True)


def test_classes_may_be_called_anything_that_a_folder_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("$a_$", "[/b]", "[bold]", "%s", "\\frac", *map(str, range(5)))
    named = replace(pictures(), classes=names)
    monkeypatch.setattr("tests.unit.runs.pictures", lambda: named)
    result = quick_train(tmp_path, RECIPE.with_epochs(2))
    assert result.metadata.classes == list(names)
