"""What a bundle of an imported model says: where it is from, what was measured, and what nobody knows."""

import json
from pathlib import Path

import pytest
import torch

from export import bundle, imported, manifest, onnxfile, original, parity
from export.bundle import MODEL, SELFCHECK, Bundle
from export.foreign import Foreign
from export.imported import Measured
from export.parity import Pictures
from tests.unit.foreigners import CLASSES, NORMALISATION, SIZE, by_torch, exported, model, read
from training.data.dataset import DataError


def imported_from(source: Foreign, out: Path) -> Bundle:
    written, _ = imported.import_model(source, CLASSES, NORMALISATION, out, name="farm")
    return written


def test_bundle_and_graph_say_what_was_imported_and_that_nobody_measured_it(tmp_path: Path) -> None:
    source = read(tmp_path, exported("classic", 1))
    written = imported_from(source, tmp_path / "bundle")
    document, told = bundle.read(written.directory).document, onnxfile.labels(written.load(MODEL))
    assert set(document["files"]) == {MODEL, SELFCHECK, "README.md", "parity.md", "parity.json", "parity.png"}
    assert (document["name"], document["network"], document["data"], document["accuracy"]) == ("farm", None, None, {})
    assert document["variants"] == {"fp32": {"file": MODEL, "accuracy": None}}
    assert document["input"] == manifest.input_contract(SIZE, 3) == json.loads(told["input"])
    assert document["provenance"]["imported"] == {
        "file": "model.onnx",
        "sha256": source.sha256,
        "gives": "logits",
        "fixed_batch": 1,
        "mean": list(NORMALISATION.mean),
        "std": list(NORMALISATION.std),
    }
    assert document["parity"]["evaluator"]["pictures"] == imported.EVALUATED
    assert json.loads(told["classes"]) == CLASSES
    assert told["source_sha256"] == source.sha256
    assert told["exporter"] == f"pytorch {torch.__version__.partition('+')[0]}"
    assert "checkpoint_sha256" not in told
    assert str(tmp_path).encode() not in written.load(MODEL)


def test_the_card_tells_where_it_comes_from_and_what_is_not_known(tmp_path: Path) -> None:
    card = imported_from(read(tmp_path, exported("classic", 1)), tmp_path / "bundle").load("README.md").decode()
    assert "Not known: it was imported without labelled pictures." in card
    assert "- It was exported for batches of 1 alone, and freed of that." in card
    assert "- There are no PyTorch weights: only ONNX Runtime can run it." in card
    assert "5 classes: ant, bee, cow, doe, elk." in card


def test_labelled_pictures_give_an_accuracy(tmp_path: Path) -> None:
    images = parity.seeded_noise(300, SIZE, 3)
    labels = by_torch(images).argmax(1).numpy()
    labels[:75] = (labels[:75] + 1) % 5
    measured = Measured(Pictures(images, labels, "300 test pictures of farm"), {"name": "farm", "test": 300})
    written, report = imported.import_model(
        read(tmp_path, exported("classic")), CLASSES, NORMALISATION, tmp_path / "bundle", measured, name="farm"
    )
    assert (report.accuracy, report.of("fp32").accuracy) == (0.75, 0.75)
    assert written.document["accuracy"] == {"test": 0.75}
    assert written.document["data"] == {"name": "farm", "test": 300}
    assert "**75.00%** on 300 test pictures of `farm`" in written.load("README.md").decode()


def test_labels_are_numbered_as_the_model_numbers_its_classes() -> None:
    names = ["rows-8px", "other", *(f"{along}-{width}px" for along in ("columns", "rows") for width in (2, 3, 4, 6))]
    found = imported.labelled_pictures("synthetic", Path(), [*names, "columns-8px"], 16)
    assert found.pictures.images.shape == (500, 16, 16, 3)
    assert found.data == {"name": "synthetic", "test": 500}
    assert found.pictures.labels is not None
    # Synthetic pictures have the labels 0..9 in turn: columns of 2, 3, 4, 6, 8 pixels, then rows.
    assert found.pictures.labels[:10].tolist() == [2, 3, 4, 5, 10, 6, 7, 8, 9, 0]


def test_pictures_of_a_class_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(DataError, match=r"are not among the model's: columns-2px, .*, rows-8px"):
        imported.labelled_pictures("synthetic", Path("pictures"), CLASSES, 16)


def test_where_the_evaluator_cannot_run_it_the_bundle_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Foreign) -> original.Network:
        raise RuntimeError("it knows no Gemm")

    monkeypatch.setattr(original, "in_evaluator", unknown)
    written = imported_from(read(tmp_path, model()), tmp_path / "bundle")
    assert written.document["parity"]["evaluator"] == {"pictures": 0, "reason": "it knows no Gemm"}
    assert "could not run it (it knows no Gemm)" in written.load("README.md").decode()


def test_the_same_model_gives_the_same_bundle(tmp_path: Path) -> None:
    source = read(tmp_path, exported("classic", 1))
    first, second = (imported_from(source, tmp_path / name) for name in ("first", "second"))
    assert first.sha256 == second.sha256
