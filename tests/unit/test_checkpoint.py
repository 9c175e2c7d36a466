"""The checkpoint: a round trip without loss, equal bytes for equal content, and nothing in it but JSON and tensors."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.unit.runs import METADATA, saved_checkpoint, weights
from training import checkpoint, tensorfile
from training.checkpoint import CheckpointError

ELSEWHERE = """
from hashlib import sha256
from tests.unit.runs import METADATA, weights
from training import checkpoint, tensorfile
backwards = dict(reversed(weights().items()))
print(sha256(checkpoint.encode(METADATA, backwards)).hexdigest())
"""


def images(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 20, 20, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return saved_checkpoint(tmp_path)


def test_weights_survive_the_round_trip_bit_by_bit(good: Path) -> None:
    loaded, saved = checkpoint.load(good).weights, weights()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_metadata_survive_the_round_trip(good: Path) -> None:
    loaded = checkpoint.load(good).metadata
    assert replace(loaded, weights_sha256="") == METADATA


def test_a_loaded_checkpoint_is_saved_as_the_same_bytes(good: Path) -> None:
    loaded = checkpoint.load(good)
    assert checkpoint.encode(loaded.metadata, loaded.weights) == good.read_bytes()


def as_format_1(added: dict[str, object] | None = None) -> bytes:
    """The good checkpoint as the first format had it, with further entries."""
    since = {"energy_threshold", "measures"}
    before = {name: value for name, value in asdict(METADATA).items() if name not in since}
    return tensorfile.encode(weights(), "alexnet", before | {"format_version": 1} | (added or {}))


def test_format_1_is_read_as_never_calibrated(good: Path) -> None:
    old, new = checkpoint.decode(as_format_1(), "old"), checkpoint.load(good)
    assert old.metadata == replace(new.metadata, weights_sha256="")
    assert (old.metadata.temperature, old.metadata.energy_threshold, old.metadata.measures) == (1.0, None, {})
    assert all(torch.equal(old.weights[name], tensor) for name, tensor in new.weights.items())


def test_format_1_is_written_as_the_current_one(good: Path) -> None:
    old = checkpoint.decode(as_format_1(), "old")
    assert checkpoint.encode(old.metadata, old.weights) == good.read_bytes()


def test_format_1_with_entries_of_format_2_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown or missing in its description: energy_threshold"):
        checkpoint.decode(as_format_1({"energy_threshold": -3.0}), "mixed")


def test_format_2_without_its_own_entries_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown or missing in its description: energy_threshold, measures"):
        checkpoint.decode(as_format_1({"format_version": 2}), "mixed")


def test_figures_survive_the_round_trip(tmp_path: Path) -> None:
    figures = {"confusion": [[3, 1], [0, 4]], "calibration": {"before": [{"count": 1, "confidence": 0.1}]}}
    measured = replace(METADATA, temperature=1.25, energy_threshold=-0.1, measures=figures)
    checkpoint.save(tmp_path / "measured", measured, weights())
    assert replace(checkpoint.load(tmp_path / "measured").metadata, weights_sha256="") == measured


def test_the_order_of_weights_and_data_does_not_change_the_bytes() -> None:
    turned = replace(METADATA, data=dict(reversed(METADATA.data.items())))
    backwards = dict(reversed(weights().items()))
    assert checkpoint.encode(turned, backwards) == checkpoint.encode(METADATA, weights())


def test_the_memory_layout_of_weights_does_not_change_the_bytes() -> None:
    laid_out = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in weights().items()
    }
    assert checkpoint.encode(METADATA, laid_out) == checkpoint.encode(METADATA, weights())


def test_another_process_writes_the_same_bytes(good: Path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert answer.stdout.strip() == sha256(good.read_bytes()).hexdigest()


def test_other_content_gives_other_bytes() -> None:
    plain = checkpoint.encode(METADATA, weights())
    assert checkpoint.encode(replace(METADATA, seed=8), weights()) != plain
    assert checkpoint.encode(METADATA, weights(seed=1)) != plain


def test_the_hash_names_the_weights_and_nothing_else(good: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "hotter", replace(METADATA, temperature=2.0), weights())
    checkpoint.save(tmp_path / "other", METADATA, weights(seed=1))
    found = [checkpoint.load(path).metadata.weights_sha256 for path in (good, tmp_path / "hotter", tmp_path / "other")]
    assert found[0] == found[1] != found[2]


def test_the_file_is_a_json_header_and_raw_tensors_and_nothing_else(good: Path) -> None:
    content = good.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header.keys() - weights().keys() == {"__metadata__"}
    assert len(content) == 8 + length + sum(tensor.nbytes for tensor in weights().values())


def test_the_description_is_one_entry_of_sorted_json(good: Path) -> None:
    content = good.read_bytes()
    described = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    assert described.keys() == {"alexnet"}
    assert described["alexnet"] == json.dumps(json.loads(described["alexnet"]), sort_keys=True)


def test_a_description_without_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(tmp_path / "bad", replace(METADATA, accuracy={"test": float("nan")}), weights())
    assert not list(tmp_path.iterdir())


def test_the_network_comes_back_ready_for_evaluation(good: Path) -> None:
    network = checkpoint.load(good).build_network()
    assert not any(module.training for module in network.modules())
    assert torch.equal(network.state_dict()["1.5.weight"], weights()["1.5.weight"])


@pytest.mark.parametrize(
    "changed",
    [
        replace(METADATA, classes=["cat", "dog"]),
        replace(METADATA, size=40),
        replace(METADATA, network="alexnet-bn"),
        replace(METADATA, network="vgg"),
        replace(METADATA, arguments={"depth": 3}),
    ],
    ids=["classes", "size", "network", "unknown network", "unknown argument"],
)
def test_weights_that_do_not_fit_the_network_are_refused(changed: checkpoint.Metadata) -> None:
    with pytest.raises(CheckpointError, match=f"do not fit network '{changed.network}'"):
        checkpoint.Checkpoint(changed, weights()).build_network()


def test_the_classifier_gives_probabilities_that_sum_to_one(good: Path) -> None:
    with torch.inference_mode():
        logits, probabilities = checkpoint.load(good).build_classifier()(images())
    assert logits.shape == probabilities.shape == (5, 3)
    assert probabilities.min() >= 0
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_the_logits_of_probabilities_only(temperature: float) -> None:
    cold = checkpoint.Checkpoint(METADATA, weights())
    warm = checkpoint.Checkpoint(replace(METADATA, temperature=temperature), weights())
    with torch.inference_mode():
        logits, _ = cold.build_classifier()(images())
        same, probabilities = warm.build_classifier()(images())
    assert torch.equal(same, logits)
    assert torch.allclose(probabilities, torch.softmax(logits / temperature, dim=1))


def test_the_classifier_normalises_each_channel_by_its_own_statistics() -> None:
    ready = checkpoint.Checkpoint(METADATA, weights()).build_classifier().preprocess(images())
    expected = (images().numpy() / 255 - METADATA.mean) / METADATA.std
    assert np.allclose(ready.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
