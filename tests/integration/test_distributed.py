"""Two processes under torchrun reach the weights of one, and only the first of them writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.unit.runs import one_thread
from training import checkpoint
from training.__main__ import main
from training.checkpoint import Checkpoint

STAGES = [{"epochs": 1, "batch_size": 128, "learning_rate": 0.05}]
EVEN, UNEVEN = 2048, 1925  # 16 batches of 128; 15 of them and one of 5, of which one process takes 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,048 training pictures of 8x8 and 256 to hold out: two classes of noise, so that some is left to learn."""
    root = tmp_path_factory.mktemp("pictures")
    draws = np.random.default_rng(0)
    for part, count in (("train", (EVEN + 256) // 2), ("test", 20)):
        for name in ("one", "other"):
            (root / part / name).mkdir(parents=True)
            for number, pixels in enumerate(draws.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)):
                Image.fromarray(pixels).save(root / part / name / f"{number:04}.png")
    return root


def train(processes: int, pictures: int, folder: Path, run: Path) -> Checkpoint:
    """One epoch of `simple-cnn` with momentum, flips and shifts, on `pictures` pictures, in fp32."""
    settings = {
        "stages": STAGES,
        "optimizer": "sgd",
        "momentum": 0.9,
        "flip": True,
        "crop_padding": 2,
        "precision": "fp32",
        "train_images": pictures,
        "validation_images": 256,
        "test_images": None,
    }
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    words = ["train", "--recipe", "s1", "--data", "folder", "--data-dir", str(folder), "--size", "8", *options]
    words += ["--device", "cpu", "--out", str(run)]
    if processes == 1:
        with one_thread():
            assert main(words) == 0
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*torchrun, "-m", "training", *words], cwd=ROOT, env=environment, check=True)
    return checkpoint.load(run / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def even(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes on batches that they share evenly. Tests only read it."""
    run = tmp_path_factory.mktemp("runs") / "two"
    train(2, EVEN, folder, run)
    return run


def assert_same(two: Checkpoint, one: Checkpoint) -> None:
    assert (two.metadata.provenance["processes"], one.metadata.provenance["processes"]) == (2, 1)
    assert two.weights.keys() == one.weights.keys()
    for name, weight in one.weights.items():
        torch.testing.assert_close(two.weights[name], weight, rtol=0, atol=1e-5)


def test_two_processes_reach_the_weights_of_one(even: Path, folder: Path, tmp_path: Path) -> None:
    two, one = checkpoint.load(even / "checkpoint.safetensors"), train(1, EVEN, folder, tmp_path / "one")
    assert_same(two, one)
    assert two.metadata.data["fit"] == EVEN
    for measure in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert two.metadata.history[0][measure] == pytest.approx(one.metadata.history[0][measure], abs=1e-5)
    assert two.metadata.accuracy == one.metadata.accuracy
    assert two.metadata.temperature == pytest.approx(one.metadata.temperature, rel=0.01)
    assert two.metadata.energy_threshold == pytest.approx(one.metadata.energy_threshold, abs=1e-3)


def test_a_batch_that_cannot_be_shared_evenly_changes_nothing(folder: Path, tmp_path: Path) -> None:
    assert_same(train(2, UNEVEN, folder, tmp_path / "two"), train(1, UNEVEN, folder, tmp_path / "one"))


def test_only_the_first_process_writes(even: Path) -> None:
    lines = (even / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1]
    assert len(list((even / "tensorboard").iterdir())) == 1
