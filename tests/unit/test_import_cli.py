"""python -m export import: a bundle and status 0, or one line with the reason, status 1 and nothing written."""

import io
from pathlib import Path

import bentoml
import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from export import bundle, wrapping
from export.__main__ import main
from export.commands.importing import read_classes
from service.engines import loading
from service.pictures.classify import Upload
from tests.unit.fakes import classified
from tests.unit.foreigners import CLASSES, SIZE, by_torch, exported, model, scores, written
from training.data import sources


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A whole command for a model of five classes."""
    written(tmp_path / "farm.onnx", exported("classic"))
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    options = {"classes": tmp_path / "labels.txt", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["import", str(tmp_path / "farm.onnx"), *given, "--out", str(tmp_path / "bundle")]


def test_a_model_becomes_a_stored_bundle_that_classifies_files(
    words: list[str], tmp_path: Path, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_store.is_dir()
    assert main([*words, "--store", "farm", "--note", "It was found in a barn."]) == 0
    made = bundle.read(tmp_path / "bundle")
    output = capsys.readouterr().out
    assert f"stored: farm:{made.version}" in output
    assert "accuracy: not known, as there were no labelled pictures (--data-dir)" in output
    assert str(bentoml.models.get("farm").tag) == f"farm:{made.version}"
    assert made.name == "farm"
    assert "It was found in a barn." in made.load("README.md").decode().splitlines()

    picture, file = Image.effect_noise((SIZE, SIZE), 99).convert("RGB"), io.BytesIO()
    picture.save(file, "PNG")
    (answer,) = classified([Upload("a.png", file.getvalue())], loading.load("onnx-cpu", made), made, top_k=5)
    assert answer["class_id"] == int(by_torch(np.array(picture)[None]).argmax())
    assert "unknown" not in answer


def test_accuracy_is_measured_on_labelled_pictures(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = sources.load("synthetic", None, size=SIZE).classes
    weights = [numpy_helper.from_array(np.zeros((3, 10), np.float32), "weight")]
    written(tmp_path / "farm.onnx", model(outputs=[scores(["n", 10])], weights=weights))
    (tmp_path / "labels.txt").write_text("\n".join(classes))
    assert main([*words, "--data", "synthetic", "--data-dir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.count("10.00%") == 2  # of the original, and of the bundle's graph
    assert bundle.read(tmp_path / "bundle").document["accuracy"] == {"test": 0.1}


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--mean", "123.7,116.3,103.5", "divide by 255 what is on the scale 0..255"),
        ("--mean", "nan,0,0", "--mean must be in 0..1"),
        ("--std", "0,0.2,0.2", "--std above 0"),
        ("--std", "58.4,57.1,57.4", "divide by 255"),
        ("--std", "0.2", "need one number for each channel"),
        ("--mean", "0.5,0.5", "need one number for each channel"),
        ("--classes", "nowhere.txt", "No such file"),
        ("--size", "9", "it takes pictures of 8x8 pixels, not of --size 9"),
        ("--name", "two\nlines", "--name must be one line"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_status_1(
    words: list[str], tmp_path: Path, option: str, value: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, option, value]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line
    assert not (tmp_path / "bundle").exists()


def test_a_model_of_another_number_of_classes_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    assert main(words) == 1
    assert capsys.readouterr().err == ("error: farm.onnx gives 5 numbers for a picture, and 2 classes are named\n")


def test_a_failed_gate_prints_its_table_and_writes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = wrapping._before
    monkeypatch.setattr(
        wrapping, "_before", lambda right, target: before(wrapping.Normalisation(right.std, right.mean), target)
    )
    assert main(words) == 1
    assert "FAIL" in (captured := capsys.readouterr()).out
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "bundle").exists()


def test_a_directory_that_is_no_bundle_is_left_alone(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.txt").write_text("years of work")
    assert main(words) == 1
    assert [entry.name for entry in (tmp_path / "bundle").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["ant\nbee\n", "\ufeffant\r\nbee", "  ant \nbee\n\n\n"])
def test_classes_are_read_one_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert read_classes(tmp_path / "labels.txt") == ["ant", "bee"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ant\n\nbee", "line 2: a class needs a name"),
        (b"ant\nbee\nant\n", "lines 1 and 3 are both 'ant'; give each class a name of its own"),
        (b"ant\n", "names 1 classes; a classifier has two or more"),
        (b"", "names 0 classes"),
        (b"ant\n" + b"b" * 256, "line 2: a class needs a name of 1 to 255 characters"),
        (b"ant\n\x1b[2J", "line 2: a class needs a name"),
        (b"ant\n\xff", "is not UTF-8 text"),
    ],
)
def test_classes_that_cannot_be_told_apart_or_shown_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels\.txt.*{reason}"):
        read_classes(tmp_path / "labels.txt")
