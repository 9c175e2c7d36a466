"""The bundle that the repository ships is what its card says, and can be made again from its own checkpoint."""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from export import bundle, graph, parity
from export.__main__ import main
from service.engines import loading
from service.pictures.classify import Upload
from tests.conftest import SHIPPED
from tests.unit.fakes import classified
from training import checkpoint

MEGABYTE = 1_000_000


def labelled_pictures(archive: Path) -> Iterator[tuple[Upload, str]]:
    """The test pictures in an archive of cifar10/test/CLASS/*.png, each with its class."""
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = Path(member.name).parts
            if member.isfile() and parts[-3] == "test":
                file = opened.extractfile(member)
                assert file is not None
                yield Upload(parts[-1], file.read()), parts[-2]


@pytest.fixture(scope="module")
def shipped() -> bundle.Bundle:
    return bundle.read(SHIPPED)


def test_it_was_trained_and_measured_on_the_whole_of_cifar10(shipped: bundle.Bundle) -> None:
    expected = {"name": "cifar10", "fit": 45_000, "validation": 5_000, "test": 5_000}
    assert shipped.document["data"].items() >= expected.items()
    assert shipped.document["accuracy"]["test"] >= 0.925


def test_it_is_small_enough_to_clone(shipped: bundle.Bundle) -> None:
    sizes = [file["bytes"] for file in shipped.document["files"].values()]
    assert max(sizes) <= 10 * MEGABYTE
    assert sum(sizes) <= 32 * MEGABYTE


def test_its_card_states_the_figures_of_its_checkpoint(shipped: bundle.Bundle) -> None:
    card = shipped.load("README.md").decode()
    found = checkpoint.decode(shipped.load(bundle.WEIGHTS), bundle.WEIGHTS).metadata
    assert found.accuracy == shipped.document["accuracy"]
    assert f"**{found.accuracy['test']:.2%}**" in card
    assert f"{len(found.history)} epochs" in card


def test_it_is_calibrated_and_was_measured_on_what_it_does_not_know(shipped: bundle.Bundle) -> None:
    found = checkpoint.decode(shipped.load(bundle.WEIGHTS), bundle.WEIGHTS).metadata
    assert found.temperature != 1.0
    assert shipped.energy_threshold == found.energy_threshold is not None
    assert {"calibration", "confusion", "robustness", "unknown"} <= found.measures.keys()


def test_what_is_served_is_calibrated_whichever_variant_it_is(shipped: bundle.Bundle) -> None:
    report = json.loads(shipped.load("parity.json"))
    errors = {found["variant"]: found["calibration_error"] for found in report["verdicts"] if found["accuracy"]}
    assert errors.keys() == shipped.document["variants"].keys()
    assert max(errors.values()) <= 0.015


def test_exporting_its_checkpoint_again_gives_the_same_outputs(shipped: bundle.Bundle) -> None:
    source = checkpoint.decode(shipped.load(bundle.WEIGHTS), bundle.WEIGHTS)
    again = graph.to_onnx(source.build_classifier(), size=shipped.size, channels=3, classes=shipped.classes)
    images = parity.seeded_noise(64, shipped.size, shipped.channels, seed=7)
    for output in ("logits", "probabilities"):
        expected, found = (
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run([output], {"images": images})[0]
            for model in (shipped.load(bundle.MODEL), again)
        )
        assert np.array_equal(expected, found)


def test_its_accuracy_on_real_pictures_is_what_its_card_says(shipped: bundle.Bundle) -> None:
    archive = Path(os.environ.get("CIFAR10_ARCHIVE", ""))
    if not archive.is_file():
        pytest.skip("CIFAR10_ARCHIVE does not name the archive of CIFAR-10's pictures")
    uploads, labels = zip(*labelled_pictures(archive), strict=True)
    predictions = classified(uploads, loading.load("onnx-cpu", shipped), shipped, top_k=1)
    right = np.mean([prediction["label"] for prediction in predictions] == np.array(labels))
    assert right == pytest.approx(shipped.document["accuracy"]["test"], abs=0.001)


def test_it_passes_the_gate_as_whoever_clones_it_would_ask_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verify-only", str(SHIPPED)]) == 0
    assert "FAIL" not in capsys.readouterr().out
