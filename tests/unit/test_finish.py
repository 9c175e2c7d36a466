"""What the end of a run adds to its checkpoint: temperature and threshold from validation, figures from the test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.runs import RECIPE, pictures, quick_train, stop_at_batch, undrawn
from training import calibration, checkpoint, energy, evaluate, loop, run_folder
from training.data.dataset import Split
from training.loop import Result
from training.run_folder import Parts


@pytest.fixture(scope="module")
def parts() -> Parts:
    return loop.part(RECIPE, pictures(), seed=0)


def logits(run: Result, split: Split) -> Tensor:
    """What the checkpoint's network gives in fp32."""
    classifier = checkpoint.load(run.path).build_classifier()
    return evaluate.predict(classifier.network, classifier.preprocess, split.images)


def test_the_temperature_is_fitted_on_the_pictures_held_out(quick_run: Result, parts: Parts) -> None:
    fitted = calibration.fit_temperature(logits(quick_run, parts.held), parts.held.labels)
    assert quick_run.metadata.temperature == fitted != 1.0


def test_the_threshold_keeps_95_percent_of_the_pictures_held_out(quick_run: Result, parts: Parts) -> None:
    threshold = quick_run.metadata.energy_threshold
    assert threshold is not None
    energies = np.sort(energy.energy(logits(quick_run, parts.held).numpy()))
    assert energies[28] == threshold  # 29 of 30 are at least 95 %, 28 are not


def test_calibration_and_confusion_are_those_of_the_test_pictures(quick_run: Result, parts: Parts) -> None:
    found, measures = logits(quick_run, parts.test), quick_run.metadata.measures
    expected = calibration.measure(found, parts.test.labels, quick_run.metadata.temperature)
    assert measures["calibration"] == expected.as_json()
    assert measures["confusion"] == evaluate.confusion(found, parts.test.labels).tolist()
    assert measures.keys() == {"calibration", "confusion"}


def test_the_probabilities_of_the_checkpoint_are_at_its_temperature(quick_run: Result, parts: Parts) -> None:
    with torch.inference_mode():
        found, probabilities = checkpoint.load(quick_run.path).build_classifier()(parts.test.images)
    assert torch.allclose(probabilities, torch.softmax(found / quick_run.metadata.temperature, dim=1))


def test_until_the_end_a_run_is_not_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at_batch(6, tmp_path, monkeypatch)
    found = checkpoint.load(run_folder.checkpoint_path(tmp_path)).metadata
    assert (found.temperature, found.energy_threshold, found.measures) == (1.0, None, {})


def test_a_run_stopped_while_it_is_calibrated_is_calibrated_when_it_goes_on(
    quick_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with undrawn():
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "write_card", interrupted)
            with pytest.raises(KeyboardInterrupt):
                quick_train(tmp_path)
        assert not run_folder.is_finished(tmp_path)
        resumed = quick_train(tmp_path, go_on=True).metadata
    assert resumed.measures == quick_run.metadata.measures
    assert (resumed.temperature, resumed.energy_threshold) == (
        quick_run.metadata.temperature,
        quick_run.metadata.energy_threshold,
    )
