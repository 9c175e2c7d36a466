"""The whole line in one process: train, checkpoint, export through the gate, bundle, engine, answer."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from export.bundle import WEIGHTS, Bundle
from service.engines import loading
from service.pictures.classify import Upload
from tests.unit.fakes import classified
from training.data import sources
from training.loop import Result
from training.pixels import Pixels


def as_png(pixels: Pixels) -> bytes:
    """The picture as a PNG file, which loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["onnx-cpu", "torch-cpu"])
def test_pictures_sent_as_files_are_classified_as_well_as_the_run_measured(
    name: str, tiny_run: Result, tiny_bundle: Bundle
) -> None:
    test = sources.load("synthetic", None).test
    uploads = [Upload(f"{number}.png", as_png(picture)) for number, picture in enumerate(test.images.numpy())]
    predictions = classified(uploads, loading.load(name, tiny_bundle), tiny_bundle, top_k=1)
    assert [prediction["filename"] for prediction in predictions] == [upload.filename for upload in uploads]
    right = np.mean([prediction["class_id"] for prediction in predictions] == test.labels.numpy())
    assert right == pytest.approx(tiny_run.metadata.accuracy["test"], abs=1 / len(test))


@pytest.mark.parametrize("name", ["onnx-cpu", "torch-cpu"])
def test_an_engine_flags_few_of_the_pictures_it_was_trained_for(name: str, tiny_bundle: Bundle) -> None:
    test = sources.load("synthetic", None).test
    uploads = [Upload(None, as_png(picture)) for picture in test.images.numpy()]
    predictions = classified(uploads, loading.load(name, tiny_bundle), tiny_bundle, top_k=1)
    assert np.mean([prediction["unknown"] for prediction in predictions]) < 0.15  # 5 % of validation, by design


def test_the_bundles_weights_are_the_runs_checkpoint(tiny_run: Result, tiny_bundle: Bundle) -> None:
    assert tiny_bundle.load(WEIGHTS) == tiny_run.path.read_bytes()


def test_the_gate_on_the_runs_own_graph_passed_at_every_batch_size(tiny_bundle: Bundle) -> None:
    verdict = json.loads(tiny_bundle.load("parity.json"))["verdicts"][0]
    assert (verdict["variant"], verdict["provider"], verdict["passed"]) == ("fp32", "cpu", True)
    assert sorted(batch["batch_size"] for batch in verdict["batches"]) == [1, 2, 3, 17, 64, 128, 256]
    assert all(batch["max_logit_difference"] <= 1e-4 for batch in verdict["batches"])
    assert all(batch["pictures"] >= 256 for batch in verdict["batches"])
