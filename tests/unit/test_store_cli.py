"""python -m export list | show | diff | use: what is in the store, and which version is served."""

import subprocess
import sys
from pathlib import Path

import bentoml
import pytest

from export import bundle, store
from export.__main__ import main
from tests.conftest import ROOT
from tests.unit.bundles import little

WITHOUT_TORCH = "import sys; from export.__main__ import main; main(['list']); sys.exit('torch' in sys.modules)"


@pytest.fixture
def pets(tmp_path: Path, own_store: Path) -> str:
    """The tag of a little bundle in an otherwise empty store."""
    assert own_store.is_dir()
    return store.put(little(tmp_path / "pets"))


@pytest.fixture
def cars(tmp_path: Path, pets: str) -> str:
    """The tag of a better one of other classes, the latest."""
    changes = {"accuracy": {"test": 0.9}, "classes": ["car", "cat", "dog"], "network": "lenet", "data": None}
    tag = store.put(little(tmp_path / "cars", name="[red]cars", **changes))
    assert tag != pets
    return tag


def rows(output: str) -> list[list[str]]:
    """The cells of a printed table, row by row; two spaces or more part them."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines() if line.strip()]


@pytest.mark.usefixtures("own_store")
def test_an_empty_store_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("the store is empty: python -m export CHECKPOINT --out DIR --store")


def test_list_has_a_row_for_every_version(pets: str, cars: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    heading, _, first, second = rows(capsys.readouterr().out)
    assert heading == ["tag", "model", "data set", "accuracy", "variants", "size", "created (UTC)"]
    created = f"{bentoml.models.get(pets).info.creation_time:%Y-%m-%d %H:%M}"
    assert first == [cars, "[red]cars", "-", "90.00%", "fp32", "0.9 kB", first[-2], "latest"]
    assert second == [pets, "alexnet-pets", "pets", "75.00%", "fp32", "0.9 kB", created]


def test_list_names_the_fault_of_a_damaged_version(pets: str, capsys: pytest.CaptureFixture[str]) -> None:
    (store.place(pets) / bundle.MANIFEST).write_text("{")
    assert main(["list"]) == 0
    assert "damaged" in (output := capsys.readouterr().out)
    assert "is not JSON" in output


def test_show_has_the_essentials_of_the_card(cars: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", cars]) == 0
    title, *entries = rows(capsys.readouterr().out)
    found = dict(entries)
    assert title == [f"{cars} (latest)"]
    assert found["classes"] == "3: car, cat, dog"
    assert found["input"] == "uint8 NHWC, 4x4x3"
    assert found["accuracy, test"] == "90.00%"
    assert found["data"] == "not known"
    assert found["calibration error"] == "not measured"
    assert found["SHA-256"] == store.get(cars).sha256
    assert found["model.onnx"] == f"0.0 kB, {store.get(cars).document['files'][bundle.MODEL]['sha256']}"
    assert found["provenance.opset"] == "20"


def test_show_tells_the_calibration(tmp_path: Path, own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert own_store.is_dir()
    error = {"before": 0.0512, "after": 0.0101}
    store.put(little(tmp_path / "x", temperature=1.25, calibration_error=error, energy_threshold=-3.5))
    assert main(["show", "alexnet"]) == 0
    found = dict(rows(capsys.readouterr().out)[1:])
    assert found["temperature"] == "1.25"
    assert found["calibration error"] == "5.12%; 1.01% at the temperature"
    assert found["energy threshold"] == "-3.5"


def test_diff_tells_accuracy_size_classes_network_and_what_else_differs(
    pets: str, cars: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", pets, cars]) == 0
    heading, _, *entries = rows(capsys.readouterr().out)
    assert heading == [pets, cars, "change"]
    assert entries == [
        ["model", "alexnet-pets", "[red]cars", "another"],
        ["accuracy, test", "75.00%", "90.00%", "+15.00 points"],
        ["accuracy, validation", "80.00%", "not measured"],
        ["size", "0.9 kB", "0.9 kB", "x1"],
        ["classes", "3", "3", "without frog; with car"],
        ["network", "compact", "lenet", "another"],
        ["data.fit", "90", "-"],
        ["data.name", "pets", "-"],
        ["data.test", "20", "-"],
        ["data.validation", "10", "-"],
    ]


def test_diff_tells_speed_where_it_was_measured(
    tmp_path: Path, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_store.is_dir()
    tags = [
        store.put(little(tmp_path / str(speed), variants={"fp32": {"file": bundle.MODEL, "images_per_second": speed}}))
        for speed in (400, 1600)
    ]
    assert main(["diff", *tags]) == 0
    assert rows(capsys.readouterr().out)[-1] == ["variants.fp32.images_per_second", "400", "1600", "x4"]


def test_classes_in_another_order_are_a_difference(
    tmp_path: Path, pets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    turned = store.put(little(tmp_path / "turned", classes=["frog", "dog", "cat"]))
    assert main(["diff", pets, turned]) == 0
    assert ["classes", "3", "3", "in another order"] in rows(capsys.readouterr().out)


def test_use_makes_a_version_the_latest_and_says_how_to_put_the_one_before_back(
    pets: str, cars: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["use", pets]) == 0
    assert capsys.readouterr().out == (
        f"{pets} is the latest now: `bentoml serve` loads it\nto put the one before back: python -m export use {cars}\n"
    )
    assert str(bentoml.models.get("alexnet:latest").tag) == pets
    assert main(["use", cars]) == 0
    assert str(bentoml.models.get("alexnet").tag) == cars


def test_use_of_the_latest_changes_nothing(pets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["use", "alexnet"]) == 0
    assert capsys.readouterr().out == f"{pets} is the latest now: `bentoml serve` loads it\n"


def test_use_of_another_name_says_how_it_is_served(
    tmp_path: Path, pets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = store.put(bundle.read(tmp_path / "pets"), "others")
    assert main(["use", "others"]) == 0
    assert capsys.readouterr().out == f"{tag} is the latest now: `bentoml serve` with ALEXNET_MODEL=others loads it\n"
    assert str(bentoml.models.get("alexnet").tag) == pets


@pytest.mark.parametrize("words", [["show", "alexnet:0"], ["use", "other"], ["diff", "alexnet", "other"]])
def test_an_unknown_tag_is_one_line_with_what_is_there(
    pets: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err == (
        f"error: there is no {words[-1]} in the BentoML store, which has {pets} (latest)\n"
    )


@pytest.mark.parametrize("word", ["show", "use"])
def test_a_damaged_version_is_neither_shown_nor_used(pets: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    (store.place(pets) / bundle.MODEL).write_bytes(b"grapH")
    assert main([word, "alexnet"]) == 1
    assert f"{pets.partition(':')[2]}/model.onnx differs" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["list", "show", "diff", "use"])
def test_a_checkpoint_called_like_a_command_is_reached_by_a_path(
    pets: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / word).write_bytes(b"no checkpoint")
    monkeypatch.chdir(tmp_path)
    assert main([word, *[pets] * {"list": 0, "diff": 2}.get(word, 1)]) == 0
    assert capsys.readouterr().err == (
        f"note: {word} is a command; to export the checkpoint of that name, write ./{word}\n"
    )
    assert main([f"./{word}", "--out", "bundle"]) == 1
    assert f"{word} is not a checkpoint" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    help_ = capsys.readouterr().out
    assert all(f"\n  {word} " in help_ for word in ("list", "show", "diff", "use"))
    assert "./list" in help_


def test_what_reads_the_store_does_not_import_torch() -> None:
    assert subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True).returncode == 0
