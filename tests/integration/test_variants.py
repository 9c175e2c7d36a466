"""A checkpoint's variants through the gate into a bundle, and out of it into engines."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from export import assemble, int8, limits, onnxfile, parity, pictures, variants, verifying
from export.bundle import FILES, WEIGHTS, Bundle
from service.engines import loading
from tests.conftest import ROOT
from training.loop import Result

ELSEWHERE = """
import sys
from hashlib import sha256
from pathlib import Path
import export
from export import pictures, variants
from training import checkpoint
assert Path(export.__file__).is_relative_to(Path.cwd())
path = Path(sys.argv[1])
source = checkpoint.load(path)
training = pictures.labelled("synthetic", None, source.metadata).training
made = variants.make(source, sha256(path.read_bytes()).hexdigest(), training)
print(*(sha256(made.graphs[name]).hexdigest() for name in ("fp32", "fp16", "int8")))
"""


def exported(run: Result, out: Path, logits: float = inf) -> Bundle:
    """The run's bundle with labelled pictures, where int8 has that limit, and needs half of the answers."""
    with pytest.MonkeyPatch.context() as patch:
        held = replace(limits.EIGHT_BITS, agreement=0.5, accuracy_loss=1.0, logits=logits)
        patch.setitem(limits.LIMITS, ("int8", "cpu"), held)
        written, _ = assemble.export(run.path, out, pictures.labelled("synthetic", None, run.metadata))
    return written


@pytest.fixture(scope="module")
def with_int8(tiny_run: Result, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(tiny_run, tmp_path_factory.mktemp("variants") / "bundle")


def test_every_variant_that_passed_is_in_a_file_with_what_it_measured(with_int8: Bundle) -> None:
    assert with_int8.variants == ("fp32", "fp16", "int8")
    for name in with_int8.variants:
        told = with_int8.document["variants"][name]
        assert 0.5 <= told["accuracy"] <= 1
        assert 0.5 <= told["agreement"] <= 1
        assert with_int8.load_variant(name) == (with_int8.directory / told["file"]).read_bytes()
    assert with_int8.document["left_out"] == {}


def test_every_file_says_what_it_is(with_int8: Bundle) -> None:
    for name in with_int8.variants:
        told = onnxfile.labels(with_int8.load_variant(name))
        assert json.loads(told["classes"]) == list(with_int8.classes)
        assert json.loads(told["input"]) == with_int8.document["input"]
        assert told["checkpoint_sha256"] == with_int8.document["files"][WEIGHTS]["sha256"]
        assert told.keys() >= {"opset", "ir_version", "producer", "exporter"}


def test_another_process_in_another_directory_makes_the_same_bytes_of_every_variant(
    tiny_run: Result, with_int8: Bundle, tmp_path: Path
) -> None:
    for package in ("export", "training"):
        shutil.copytree(ROOT / package, tmp_path / "elsewhere" / package)
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tiny_run.path)],
        cwd=tmp_path / "elsewhere",
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    files = with_int8.document["files"]
    assert answer.stdout.split()[-3:] == [files[FILES[name]]["sha256"] for name in ("fp32", "fp16", "int8")]


def test_the_card_of_int8_says_how_it_was_calibrated(with_int8: Bundle) -> None:
    calibration = with_int8.document["variants"]["int8"]["calibration"]
    assert (calibration["pictures"], calibration["accuracy"]["pictures"]) == (int8.CALIBRATION, 2_000 - 512)
    assert calibration["accuracy"].keys() == {"pictures", "fp32", "MinMax", "Entropy", "Percentile"}


def test_the_preferred_variant_is_the_fastest(with_int8: Bundle) -> None:
    speeds = {
        name: with_int8.document["variants"][name]["images_per_second"]["cpu"] for name in variants.CANDIDATES["cpu"]
    }
    assert with_int8.preferred("cpu") == max(speeds, key=lambda name: speeds[name])
    assert with_int8.preferred("cuda") == "fp16"


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_an_engine_runs_each_variant_and_gives_answers_like_the_gates(with_int8: Bundle, variant: str) -> None:
    engine = loading.load("onnx-cpu", with_int8, variant=variant)
    assert engine.variant == variant
    images = parity.seeded_noise(8, with_int8.size, 3)
    assert np.isfinite(engine.run(images).logits).all()


def test_the_engine_that_is_chosen_runs_the_preferred_variant(with_int8: Bundle) -> None:
    assert loading.load("onnx-cpu", with_int8).variant == with_int8.preferred("cpu")


def test_a_variant_that_fails_its_gate_is_left_out_and_the_reason_is_kept(tiny_run: Result, tmp_path: Path) -> None:
    written = exported(tiny_run, tmp_path / "bundle", logits=0.0)
    assert written.variants == ("fp32", "fp16")
    assert "logits differ by" in written.document["left_out"]["int8"]
    assert json.loads(written.load("parity.json"))["left_out"] == written.document["left_out"]
    assert f"- int8 was left out: {written.document['left_out']['int8']}." in written.load("parity.md").decode()
    assert "model.int8.onnx" not in written.document["files"]


def test_without_training_pictures_there_is_no_int8_and_the_bundle_says_why(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.document["left_out"] == {"int8": variants.NO_TRAINING_PICTURES}


def test_verifying_judges_every_variant_of_a_bundle(tiny_bundle: Bundle) -> None:
    report = verifying.verify(tiny_bundle, verifying.checkpoint_of(tiny_bundle))
    assert {(verdict.variant, verdict.provider) for verdict in report.verdicts} >= {
        (name, "cpu") for name in tiny_bundle.variants
    }
