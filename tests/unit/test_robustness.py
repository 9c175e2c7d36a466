"""Robustness and the unknown, measured on answers that can be reckoned by hand, and kept in a checkpoint."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unit.runs import METADATA, one_thread, saved_checkpoint, weights
from tests.unit.sets import cats_and_dogs
from training import checkpoint, evaluate, robustness, run_folder
from training.__main__ import main
from training.checkpoint import Checkpoint, CheckpointError
from training.data.changes import CHANGES
from training.data.dataset import Dataset, Split
from training.loop import Result

CPU = torch.device("cpu")
Captured = pytest.CaptureFixture[str]

# Cats are darker than 128, dogs are not; of each there are three.
GREYS, LABELS = (60, 100, 120, 140, 160, 250), (0, 0, 0, 1, 1, 1)
SOURCE = Checkpoint(replace(METADATA, energy_threshold=-100.0), weights())


def split(greys: tuple[int, ...], labels: tuple[int, ...], channels: int = 3) -> Split:
    """A picture of one grey for each label."""
    values = torch.tensor(greys, dtype=torch.uint8)[:, None, None, None]
    return Split(values.expand(-1, 20, 20, channels).contiguous(), torch.tensor(labels))


DATASET = Dataset("pets", ("cat", "dog", "frog"), split((0,), (0,)), split(GREYS, LABELS))


def by_brightness(_: object, __: object, images: Tensor) -> Tensor:
    """Dog where the mean is 128 or more, else cat, with a logit of the mean itself and hence an energy of minus it."""
    means = images.float().mean(dim=(1, 2, 3))
    logits = torch.full((len(images), 3), -1000.0)
    logits[torch.arange(len(images)), (means >= 128).long()] = means
    return logits


@pytest.fixture
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "predict", by_brightness)


def shares(figures: dict[str, Any], name: str) -> list[float]:
    """The accuracies at the three strengths of a change."""
    (found,) = [change for change in figures["robustness"]["changes"] if change["name"].startswith(name)]
    return list(found["accuracy"])


@pytest.mark.usefixtures("_by_hand")
def test_accuracy_is_measured_on_the_pictures_as_they_are_and_on_every_change() -> None:
    figures = robustness.measure(SOURCE, DATASET, None, CPU)
    found = figures["robustness"]
    assert (found["data"], found["pictures"], found["accuracy"]) == ("pets", 6, 1.0)
    assert [change["name"] for change in found["changes"]] == [change.name for change in CHANGES]
    # By 25, 50 and 75 the cats of 120, of 100 and none of 60 (to 135) come to 128: the last one does.
    assert shares(figures, "brighter") == [5 / 6, 4 / 6, 3 / 6]
    assert shares(figures, "darker") == [5 / 6, 4 / 6, 4 / 6]  # 140 - 25, 160 - 50; 250 - 75 is still a dog
    for name in ("less contrast", "more contrast", "Gaussian blur"):
        assert shares(figures, name) == [1, 1, 1]  # a plain picture has no contrast


@pytest.mark.usefixtures("_by_hand")
def test_pictures_above_the_threshold_are_counted_in_every_set() -> None:
    others = Dataset("mugs", ("mug",), split((0,), (0,), channels=1), split((10, 99, 100), (0, 0, 0), channels=1))
    assert robustness.measure(SOURCE, DATASET, others, CPU)["unknown"] == [
        {"name": "test pictures of pets", "pictures": 6, "flagged": 1},  # 60; 100 lies on the threshold
        {"name": "test pictures of mugs", "pictures": 3, "flagged": 2},
        {"name": "uniform noise", "pictures": 2000, "flagged": 0},  # its means are near 127
    ]


@pytest.mark.usefixtures("_by_hand")
def test_without_other_pictures_there_is_noise_alone() -> None:
    found = robustness.measure(SOURCE, DATASET, None, CPU)["unknown"]
    assert [entry["name"] for entry in found] == ["test pictures of pets", "uniform noise"]


@pytest.mark.usefixtures("_by_hand")
def test_without_a_threshold_nothing_is_said_of_the_unknown() -> None:
    source = replace(SOURCE, metadata=replace(SOURCE.metadata, energy_threshold=None))
    assert robustness.measure(source, DATASET, None, CPU).keys() == {"robustness"}


def test_pictures_of_other_classes_are_refused() -> None:
    with pytest.raises(CheckpointError, match="knows other classes: cat, dog, frog"):
        robustness.measure(SOURCE, replace(DATASET, classes=("cup", "mug", "pot")), None, CPU)


def test_pictures_with_other_channels_are_refused() -> None:
    grey = replace(DATASET, test=split(GREYS, LABELS, channels=1))
    with pytest.raises(CheckpointError, match=r"for pictures with 3 channel\(s\), these have 1"):
        robustness.measure(SOURCE, grey, None, CPU)


def test_grey_becomes_colour_and_colour_becomes_its_luma() -> None:
    grey = torch.tensor([[[[7]]]], dtype=torch.uint8)
    assert robustness.with_channels(grey, 3).tolist() == [[[[7, 7, 7]]]]
    assert robustness.with_channels(grey, 1) is grey
    coloured = torch.tensor([[[[100, 0, 0], [0, 100, 0], [0, 0, 100], [9, 9, 9]]]], dtype=torch.uint8)
    assert robustness.with_channels(coloured, 1).flatten().tolist() == [30, 59, 11, 9]


def test_figures_are_kept_beside_those_that_were_there(tmp_path: Path) -> None:
    path = saved_checkpoint(tmp_path)
    robustness.record(path, checkpoint.load(path), {"one": 1, "other": 2})
    robustness.record(path, checkpoint.load(path), {"other": 3})
    assert checkpoint.load(path).metadata.measures == {"one": 1, "other": 3}


def test_keeping_figures_changes_no_weight_and_is_the_same_when_repeated(tmp_path: Path) -> None:
    path = saved_checkpoint(tmp_path)
    before = checkpoint.load(path)
    robustness.record(path, before, {"one": 1})
    once = path.read_bytes()
    robustness.record(path, checkpoint.load(path), {"one": 1})
    assert path.read_bytes() == once
    assert checkpoint.load(path).metadata.weights_sha256 == before.metadata.weights_sha256


def test_a_checkpoint_without_a_card_gets_none(tmp_path: Path) -> None:
    path = saved_checkpoint(tmp_path)
    robustness.record(path, checkpoint.load(path), {"one": 1})
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.fixture
def run(quick_run: Result, tmp_path: Path) -> Path:
    """A finished run whose checkpoint and card may be changed."""
    for name in ("checkpoint.safetensors", "card.md"):
        shutil.copy(quick_run.path.parent / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def _one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "CHANGES", CHANGES[:1])


@one_thread()
def command(path: Path, *options: str) -> int:
    return main(["robustness", str(path), "--data", "synthetic", "--device", "cpu", *options])


def rows(text: str) -> list[str]:
    """Lines of a table without its frame."""
    return [" ".join(re.sub("[│┃|]", " ", line).split()) for line in text.splitlines()]


def test_the_command_prints_what_it_keeps_in_checkpoint_and_card(run: Path, capsys: Captured) -> None:
    path = run_folder.checkpoint_path(run)
    before = checkpoint.load(path).metadata
    assert command(path, "--others", "synthetic") == 0
    after = checkpoint.load(path).metadata
    assert replace(after, measures=before.measures) == before
    assert after.measures.keys() == {"calibration", "confusion", "robustness", "unknown"}
    assert [entry["pictures"] for entry in after.measures["unknown"]] == [500, 500, 2000]
    printed, card = rows(capsys.readouterr().out), rows((run / "card.md").read_text())
    share = f"{after.measures['unknown'][0]['flagged'] / 500:.2%}"
    for line in (
        f"unchanged {after.measures['robustness']['accuracy']:.2%}",
        f"test pictures of synthetic 500 {share}",
    ):
        assert line in printed
        assert line in card


def test_an_unfinished_run_is_refused_before_any_work(run: Path, capsys: Captured) -> None:
    path = run_folder.checkpoint_path(run)
    source = checkpoint.load(path)
    checkpoint.save(path, replace(source.metadata, accuracy={"validation": 0.5}), source.weights)
    assert command(path, "--others", "folder") == 1
    assert f"{path} is of an unfinished run: finish it with --resume" in capsys.readouterr().err


def test_a_bundles_own_checkpoint_is_refused_and_left_as_it_is(run: Path, capsys: Captured) -> None:
    path = run_folder.checkpoint_path(run)
    content = path.read_bytes()
    (run / "bundle.json").write_text("{}")
    assert command(path) == 1
    assert "belongs to a bundle, which the figures would break" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_other_pictures_from_files_need_their_folder(run: Path, capsys: Captured) -> None:
    assert command(run_folder.checkpoint_path(run), "--others", "folder") == 1
    assert "--others folder needs --others-dir DIR" in capsys.readouterr().err


@pytest.mark.usefixtures("_one_change")
def test_other_pictures_may_have_any_classes_and_any_size(run: Path, tmp_path: Path) -> None:
    path = run_folder.checkpoint_path(run)
    assert command(path, "--others", "folder", "--others-dir", str(cats_and_dogs(tmp_path / "pets"))) == 0
    assert checkpoint.load(path).metadata.measures["unknown"][1]["name"] == "test pictures of pets"


@pytest.mark.usefixtures("_one_change")
def test_a_checkpoint_without_a_threshold_is_measured_for_robustness_alone(run: Path, capsys: Captured) -> None:
    path = run_folder.checkpoint_path(run)
    source = checkpoint.load(path)
    checkpoint.save(path, replace(source.metadata, energy_threshold=None), source.weights)
    assert command(path) == 0
    assert "has no energy threshold" in capsys.readouterr().err
    assert "unknown" not in checkpoint.load(path).metadata.measures
