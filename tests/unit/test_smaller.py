"""Smaller variants: what is 8 or 16 bits in them and what stays float32, and how the best int8 is chosen."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from export import graph, parity, runtimes, smaller, variants
from export.bundle import Outputs
from export.parity import Pictures
from tests.conftest import ROOT
from training.classifier import Classifier

CLASSES = ["cat", "dog", "frog"]
SIZE = 8
PICTURES = parity.seeded_noise(130, SIZE, 3, seed=5)
ELSEWHERE = """
from hashlib import sha256
from tests.unit import test_smaller as here
print(sha256(here.int8("Entropy") + here.fp16()).hexdigest())
"""


@cache
def plain() -> ModelProto:
    """Two convolutions and two linear layers with random weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    return graph.trace(Classifier(network, [0.5] * 3, [0.25] * 3, 1.5), size=SIZE, channels=3)


def finish(model: ModelProto) -> bytes:
    copy = ModelProto()
    copy.CopyFrom(model)
    return graph.finish(copy, size=SIZE, channels=3, classes=CLASSES)


@cache
def int8(method: str, floating: tuple[str, ...] = ()) -> bytes:
    return finish(smaller.to_int8(plain(), PICTURES, method, floating))


@cache
def fp16() -> bytes:
    return finish(smaller.to_fp16(plain()))


def run(model: bytes) -> Outputs:
    return runtimes.onnx_runner(model)(PICTURES)


def weights(model: bytes, kind: int) -> list[Any]:
    """The tensors of two and more dimensions that a graph keeps in that type."""
    tensors = onnx.load_from_string(model).graph.initializer
    return [numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == kind and len(tensor.dims) > 1]


@pytest.mark.parametrize("method", smaller.METHODS)
def test_int8_keeps_every_weight_in_8_bits_and_stays_near(method: str) -> None:
    found = weights(int8(method), TensorProto.INT8)
    assert sorted(values.shape for values in found) == [(3, 8), (4, 8, 3, 3), (8, 3, 3, 3), (8, 16)]
    assert np.abs(run(int8(method)).logits - run(finish(plain())).logits).max() < 0.1


def test_int8_scales_every_channel_of_a_weight_to_its_own_range() -> None:
    for values in weights(int8("MinMax"), TensorProto.INT8):
        assert (np.abs(values).reshape(len(values), -1).max(axis=1) == 127).all()


def test_first_and_last_layer_can_stay_float() -> None:
    first, last = smaller.ends(plain())
    found = weights(int8("MinMax", (first, last)), TensorProto.INT8)
    assert sorted(values.shape for values in found) == [(4, 8, 3, 3), (8, 16)]


def test_the_logits_of_int8_are_no_steps() -> None:
    assert len(np.unique(run(int8("MinMax")).logits)) > 3 * 100


def test_fp16_has_half_the_weights_and_float32_outputs() -> None:
    assert len(weights(fp16(), TensorProto.FLOAT16)) == 4
    assert {values.dtype for values in run(fp16())} == {np.dtype(np.float32)}
    assert np.abs(run(fp16()).logits - run(finish(plain())).logits).max() < 2e-3


def test_fp16_normalises_pictures_and_makes_probabilities_in_float32() -> None:
    found = run(fp16())
    powers = np.exp(found.logits / np.float32(1.5))
    assert np.abs(found.probabilities - powers / powers.sum(axis=1, keepdims=True)).max() < 1e-6


@pytest.mark.parametrize("change", [lambda: int8("MinMax"), fp16])
def test_the_graph_that_was_given_stays_as_it_was(change: Any) -> None:
    before = plain().SerializeToString(deterministic=True)
    change()
    assert plain().SerializeToString(deterministic=True) == before


def test_another_process_makes_the_same_bytes() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert answer.stdout.split()[-1] == sha256(int8("Entropy") + fp16()).hexdigest()


def test_nothing_of_a_machine_is_in_the_files() -> None:
    for model in (int8("Entropy"), fp16()):
        assert not [trace for trace in (b"/tmp", str(ROOT).encode(), b".py", b"quant.pre_process") if trace in model]


class Quantiser:
    """Gives the graph itself, marked with what was asked for; its answers are right in the share that is set for it."""

    def __init__(self, **right: float) -> None:
        self.right = right
        self.asked: list[tuple[str, int]] = []

    def to_int8(self, model: ModelProto, images: Any, method: str, floating: Sequence[str] = ()) -> ModelProto:
        """Take smaller.to_int8's place."""
        marked = ModelProto()
        marked.CopyFrom(model)
        marked.doc_string = f"{method}Ends" if floating else method
        self.asked.append((marked.doc_string, len(images)))
        return marked

    def outputs(self, model: bytes, images: Any) -> Outputs:
        """Class 0 for the first of the pictures, and class 1 for the others. The float32 graph knows class 0 alone."""
        right = round(self.right.get(onnx.load_from_string(model).doc_string, 1.0) * len(images))
        logits = np.eye(3, dtype=np.float32)[(np.arange(len(images)) >= right).astype(int)]
        return Outputs(logits, logits)


def chosen(monkeypatch: pytest.MonkeyPatch, quantiser: Quantiser) -> tuple[str, dict[str, Any]]:
    """The mark of the graph that is taken for 20 pictures of class 0, and how it is described."""
    monkeypatch.setattr(smaller, "to_int8", quantiser.to_int8)
    monkeypatch.setattr(variants, "_outputs", quantiser.outputs)
    asked = Pictures(PICTURES[:20], np.zeros(20, np.int64), "noise")
    model, details = variants.quantised(plain(), finish, asked)
    return onnx.load_from_string(model).doc_string, details["calibration"]


def test_ranges_come_from_one_half_and_the_method_is_chosen_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    quantiser = Quantiser(MinMax=0.5, Entropy=1.0, Percentile=0.9)
    mark, told = chosen(monkeypatch, quantiser)
    assert (mark, told["method"], told["pictures"], told["float_layers"]) == ("Entropy", "Entropy", 10, [])
    assert told["accuracy"] == {"pictures": 10, "fp32": 1.0, "MinMax": 0.5, "Entropy": 1.0, "Percentile": 0.9}
    assert quantiser.asked == [("MinMax", 10), ("Entropy", 10), ("Percentile", 10)]


def test_of_equal_methods_the_first_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, Quantiser())[0] == "MinMax"


@pytest.mark.parametrize(("ends_right", "taken"), [(0.9, "PercentileEnds"), (0.8, "Percentile"), (0.7, "Percentile")])
def test_the_ends_stay_float_only_where_accuracy_needs_it_and_gets_it(
    monkeypatch: pytest.MonkeyPatch, ends_right: float, taken: str
) -> None:
    right = {"MinMax": 0.5, "Entropy": 0.6, "Percentile": 0.8, "PercentileEnds": ends_right}
    mark, told = chosen(monkeypatch, Quantiser(**right))
    assert mark == taken
    assert told["float_layers"] == (smaller.ends(plain()) if taken.endswith("Ends") else [])
