"""The command line of training, in process: what it prints and what status it ends with."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.runs import interrupt_at_batch, one_thread
from tests.unit.sets import save
from training import checkpoint, evaluate
from training.__main__ import main
from training.ladders.ladder import LADDERS
from training.recipes import RECIPES

Captured = pytest.CaptureFixture[str]


@one_thread()
def train(out: Path, *options: str) -> int:
    """Train `compact` on 64 small pictures, with further options."""
    quick = ["--recipe", "compact", "--data", "synthetic", "--size", "20", "--limit-train", "64", "--epochs", "1"]
    return main(["train", *quick, "--device", "cpu", "--out", str(out), *options])


@one_thread()
def climb(out: Path, *options: str) -> int:
    """Train rungs 1 and 6 of S3 for one epoch on 64 pictures, with further options."""
    quick = ["--rungs", "s3-1", "s3-6", "--data", "synthetic", "--limit-train", "64", "--epochs", "1"]
    return main(["ladder", "s3", *quick, "--set", "test_images=50", "--device", "cpu", "--out", str(out), *options])


def refused(out: Path, capsys: Captured, *options: str) -> str:
    """The message that training with `options` ends with, before it made anything."""
    assert train(out, *options) == 1
    assert not out.exists()
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_run_prints_data_device_accuracy_and_the_path(tmp_path: Path, capsys: Captured) -> None:
    assert train(tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "synthetic: 2,000 training pictures, 500 test pictures, 10 classes; on cpu" in printed
    assert "epoch 1/1: loss" in printed
    assert f"checkpoint: {tmp_path / 'run' / 'checkpoint.safetensors'}" in printed
    accuracy = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors").metadata.accuracy
    assert f"{accuracy['test']:.2%} (500 pictures)" in printed


def test_options_reach_the_run(tmp_path: Path) -> None:
    assert train(tmp_path, "--epochs", "2", "--seed", "3", "--size", "24", "--limit-train", "32") == 0
    metadata = checkpoint.load(tmp_path / "checkpoint.safetensors").metadata
    assert (len(metadata.history), metadata.seed, metadata.size, metadata.data["fit"]) == (2, 3, 24, 32)


def test_ctrl_c_ends_with_130_and_names_the_way_on(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at_batch(2, patch)
        assert train(tmp_path, "--epochs", "2") == 130
    assert f"safe in {tmp_path}: the same command with --resume goes on" in capsys.readouterr().out
    assert train(tmp_path, "--epochs", "2", "--resume") == 0
    assert "epoch 1/2" not in capsys.readouterr().out


def test_ctrl_c_in_the_first_epoch_says_that_nothing_was_saved(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at_batch(1, monkeypatch)
    assert train(tmp_path, "--epochs", "2") == 130
    assert capsys.readouterr().out.endswith("\nstopped. The first epoch was not finished: nothing was saved\n")


def test_help_lists_the_recipes(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert ", ".join(RECIPES) in " ".join(capsys.readouterr().out.split())


def test_help_lists_the_ladders(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["ladder", "--help"])
    assert ", ".join(LADDERS) in " ".join(capsys.readouterr().out.split())


def test_every_recipe_is_printed(capsys: Captured) -> None:
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert [name for name in RECIPES if f" {name} " not in printed] == []


def test_an_unknown_recipe_is_refused_with_the_valid_names(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--recipe", "vgg")
    assert "unknown recipe 'vgg'; there are: alexnet-bn, compact" in message


def test_an_unknown_device_is_refused_with_the_valid_names(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--device", "tpu")
    assert "unknown device 'tpu'; there are: auto, cuda, mps, cpu" in message


def test_a_device_that_is_not_here_is_refused_with_those_that_are(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    message = refused(tmp_path / "run", capsys, "--device", "cuda")
    assert "device 'cuda' is not available here; available: cpu (or auto)" in message


def test_pictures_from_files_need_their_folder(tmp_path: Path, capsys: Captured) -> None:
    assert "--data folder needs --data-dir DIR" in refused(tmp_path / "run", capsys, "--data", "folder")


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_impossible_epochs_are_refused(epochs: str, tmp_path: Path, capsys: Captured) -> None:
    assert f"{epochs} epochs are too few" in refused(tmp_path / "run", capsys, "--epochs", epochs)


def test_pictures_too_small_for_the_network_are_refused(tmp_path: Path, capsys: Captured) -> None:
    assert "9x9 are too small for this network" in refused(tmp_path / "run", capsys, "--size", "9")


def test_fields_of_the_recipe_are_set_as_json_or_as_words(tmp_path: Path) -> None:
    stages = json.dumps([{"epochs": 1, "batch_size": 16, "learning_rate": 0.5}])
    changes = ["--set", "optimizer=sgd", "--set", "flip=false", "--set", f"stages={stages}"]
    assert train(tmp_path, *changes) == 0
    recipe = checkpoint.load(tmp_path / "checkpoint.safetensors").metadata.recipe
    assert (recipe["optimizer"], recipe["flip"], recipe["stages"]) == ("sgd", False, json.loads(stages))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("speed=9", "a recipe has no speed; it has: network, stages, arguments"),
        ("flip", "--set takes FIELD=VALUE, not 'flip'"),
        ("=3", "a recipe has no ; it has: network"),
        ("flip=1", "flip must be true or false, not 1"),
        ("cutout=large", "cutout must be a whole number, not 'large'"),
        ("momentum=null", "momentum must be a number, not None"),
        ("optimizer=lion", "unknown optimizer 'lion'; there are: sgd, nesterov, adam, adamw"),
        ("stages=3", "stages"),
        ('network=["compact"]', "unknown network"),
        ('stages=[{"epochs": 1}]', "a stage has exactly epochs, batch_size, learning_rate"),
        ("decay_at=3", "decay_at"),
        ("arguments=[]", "arguments must be an object"),
        ('arguments={"depth": 9}', "compact has no argument depth; it takes: "),
    ],
)
def test_an_impossible_change_of_the_recipe_is_refused(
    change: str, reason: str, tmp_path: Path, capsys: Captured
) -> None:
    assert reason in refused(tmp_path / "run", capsys, "--set", change)


def test_skipping_corrupt_pictures_is_an_option(tmp_path: Path, capsys: Captured) -> None:
    for part, name, red in [(part, name, red) for part in ("train", "test") for name in "ab" for red in range(4)]:
        save(tmp_path / "pets" / part / name / f"{red}.png", red, size=20)
    broken = tmp_path / "pets" / "train" / "a" / "broken.png"
    broken.write_bytes(b"no picture")
    options = ["--data", "folder", "--data-dir", str(tmp_path / "pets")]
    assert f"{broken} is not a readable picture" in refused(tmp_path / "run", capsys, *options)
    assert train(tmp_path / "run", *options, "--skip-corrupt") == 0
    assert f"note: skipped 1 of 9 pictures: {broken} is not" in capsys.readouterr().err


def test_resuming_nothing_is_refused(tmp_path: Path, capsys: Captured) -> None:
    message = refused(tmp_path / "run", capsys, "--resume")
    assert f"nothing to resume in {tmp_path / 'run'}" in message
    assert "start without --resume" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--limit-train", "0"], "must be at least 1, not 0"),
        (["--size", "-3"], "must be at least 1, not -3"),
        (["--size", "big"], "invalid"),
        (["--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["--speed", "9"], "unrecognized arguments: --speed"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    options: list[str], reason: str, tmp_path: Path, capsys: Captured
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train(tmp_path, *options)
    assert reason in capsys.readouterr().err


def test_a_command_is_needed(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "required: COMMAND" in capsys.readouterr().err


def test_a_ladder_leaves_figures_table_and_picture_and_says_where(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "rise"
    assert climb(out) == 0
    printed = capsys.readouterr().out
    result = json.loads((out / "rise.json").read_text())
    assert [rung["name"] for rung in result["rungs"]] == ["s3-1", "s3-6"]
    assert [(rung["pictures"]["fit"], rung["size"], len(rung["history"])) for rung in result["rungs"]] == [
        (64, 32, 1)
    ] * 2
    assert (out / "rise.md").read_text() in printed
    assert f"table, picture and raw figures: {out / 'rise'}.md, .png, .json" in printed
    with Image.open(out / "rise.png") as picture:
        picture.load()


def test_a_ladder_tells_the_command_that_makes_it_again(tmp_path: Path) -> None:
    assert climb(tmp_path, "--rungs", "s3-1") == 0
    assert climb(tmp_path, "--rungs", "s3-1", "--resume") == 0
    command = json.loads((tmp_path / f"{tmp_path.name}.json").read_text())["command"]
    assert command[:5] == ["python", "-m", "training", "ladder", "s3"]
    assert "--limit-train" in command
    assert "--resume" not in command


def test_unknown_rungs_are_refused_with_the_valid_names(tmp_path: Path, capsys: Captured) -> None:
    assert climb(tmp_path / "run", "--rungs", "s3-10") == 1
    assert capsys.readouterr().err.startswith("error: unknown rung s3-10; there are: s3-1, s3-2")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_a_ladder_says_how_to_go_on(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at_batch(2, monkeypatch)  # in the second rung
    assert climb(tmp_path) == 130
    assert capsys.readouterr().out.endswith(
        f"stopped. Finished epochs are safe in {tmp_path}: the same command with --resume goes on\n"
    )


def test_a_stopped_ladder_goes_on(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_at_batch(2, patch)
        assert climb(tmp_path) == 130
    assert climb(tmp_path, "--resume") == 0
    assert "| s3-6 |" in capsys.readouterr().out


def test_ctrl_c_while_measuring_changes_nothing(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    assert train(tmp_path) == 0
    monkeypatch.setattr(evaluate, "predict", interrupted)
    words = ["--data", "synthetic", "--device", "cpu"]
    assert main(["evaluate", str(tmp_path / "checkpoint.safetensors"), *words]) == 130
    assert capsys.readouterr().out.endswith("\nstopped. Nothing was changed\n")
