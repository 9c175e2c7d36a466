"""Smaller variants: what is 8 or 16 bits in them and what stays float32, and how the best int8 is chosen."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from export import equalising, graph, parity, runtimes, smaller
from export import int8 as choice
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
def classifier() -> Classifier:
    """Two convolutions and two linear layers with random weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    return Classifier(network, [0.5] * 3, [0.25] * 3, 1.5)


@cache
def plain() -> ModelProto:
    return graph.trace(classifier(), size=SIZE, channels=3)


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


def test_the_first_layers_and_the_last_one_can_stay_float() -> None:
    ends, three = (weights(int8("MinMax", tuple(names)), TensorProto.INT8) for names in smaller.float_layers(plain()))
    assert sorted(values.shape for values in ends) == [(4, 8, 3, 3), (8, 16)]
    assert [values.shape for values in three] == [(8, 16)], "the second layer too"


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


SHOWN = parity.seeded_noise(200, SIZE, 3, seed=6)


class Quantiser:
    """Gives the graph itself, marked with what was asked for; its answers are right in the share that is set for it.

    Of enlarged pictures `same` gives the share of answers that are the float32 graph's.
    """

    def __init__(self, right: Mapping[str, float] | None = None, same: Mapping[str, float] | None = None) -> None:
        self.right, self.same = dict(right or {}), dict(same or {})
        self.asked: list[tuple[str, int]] = []

    def to_int8(self, model: ModelProto, images: Any, method: str, floating: Sequence[str] = ()) -> ModelProto:
        """Take smaller.to_int8's place; the mark is the method and the number of layers in float."""
        marked = ModelProto()
        marked.CopyFrom(model)
        marked.doc_string = f"{method} {len(floating)}"
        self.asked.append((marked.doc_string, len(images)))
        return marked

    def answers(self, model: bytes, images: Any) -> Any:
        """Class 0 for the first of the pictures, and class 1 for the others. The float32 graph knows class 0 alone."""
        mark = onnx.load_from_string(model).doc_string
        if np.array_equal(images, SHOWN[100:]):
            shares = self.right
        else:
            assert np.array_equal(images, choice.enlarged_middles(SHOWN[100:]))
            shares = self.same
        return (np.arange(len(images)) >= round(shares.get(mark, 1.0) * len(images))).astype(np.int64)


def chosen(monkeypatch: pytest.MonkeyPatch, quantiser: Quantiser) -> tuple[str, dict[str, Any]]:
    """The mark of the graph that is taken for 200 pictures of class 0, and how it is described."""
    monkeypatch.setattr(smaller, "to_int8", quantiser.to_int8)
    monkeypatch.setattr(choice, "_answers", quantiser.answers)
    asked = Pictures(SHOWN, np.zeros(len(SHOWN), np.int64), "noise")
    model, details = choice.chosen(classifier(), finish, asked)
    return onnx.load_from_string(model).doc_string, details["calibration"]


def test_ranges_come_from_one_half_and_the_method_is_chosen_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    quantiser = Quantiser({"MinMax 0": 0.5, "Percentile 0": 0.9})
    mark, told = chosen(monkeypatch, quantiser)
    assert (mark, told["method"], told["pictures"], told["float_layers"]) == ("Entropy 0", "Entropy", 100, [])
    assert told["accuracy"] == {"pictures": 100, "fp32": 1.0, "MinMax": 0.5, "Entropy": 1.0, "Percentile": 0.9}
    assert quantiser.asked == [("MinMax 0", 100), ("Entropy 0", 100), ("Percentile 0", 100)]


def test_of_equal_methods_the_first_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, Quantiser())[0] == "MinMax 0"


METHODS_RIGHT = {"MinMax 0": 0.5, "Entropy 0": 0.6, "Percentile 0": 0.8}


@pytest.mark.parametrize(
    ("with_two", "with_three", "taken"),
    [(1.0, 0.5, "Percentile 2"), (0.9, 1.0, "Percentile 3"), (0.9, 0.9, "Percentile 2"), (0.8, 0.7, "Percentile 0")],
)
def test_layers_stay_in_float_only_as_far_as_accuracy_needs_it_and_gets_it(
    monkeypatch: pytest.MonkeyPatch, with_two: float, with_three: float, taken: str
) -> None:
    right = {**METHODS_RIGHT, "Percentile 2": with_two, "Percentile 3": with_three}
    mark, told = chosen(monkeypatch, Quantiser(right))
    assert mark == taken
    assert [[], *smaller.float_layers(plain())].index(told["float_layers"]) == (0, 2, 3).index(int(taken[-1]))


@pytest.mark.parametrize(
    ("same", "taken"),
    [((0.97,), 0), ((0.9, 0.98), 2), ((0.9, 0.95, 0.98), 3), ((0.9, 0.95, 0.92), 2), ((0.8, 0.8, 0.98), 3)],
)
def test_layers_stay_in_float_where_too_many_answers_to_enlarged_pictures_change(
    monkeypatch: pytest.MonkeyPatch, same: Sequence[float], taken: int
) -> None:
    by_layers = {f"MinMax {floating}": share for floating, share in zip((0, 2, 3), same, strict=False)}
    quantiser = Quantiser(same={"Entropy 0": same[0], "Percentile 0": same[0], **by_layers})
    mark, told = chosen(monkeypatch, quantiser)
    assert (mark, told["agreement_enlarged"]) == (f"MinMax {taken}", same[(0, 2, 3).index(taken)])
    assert len(quantiser.asked) == 3 + len(same) - 1, "nothing is tried after what is good enough"


@pytest.mark.parametrize(
    ("right", "same", "taken"),
    [
        ((0.999, 1.0, 1.0), (0.97, 0.97, 0.99), "Percentile 0"),
        ((1.0, 0.999, 1.0), (0.8, 0.98, 0.9), "Entropy 0"),
        ((1.0, 0.999, 1.0), (0.8, 0.96, 0.9), "Entropy 3"),
        ((0.3, 0.9, 0.8), (1.0, 0.5, 0.9), "Entropy 3"),
    ],
    ids=["all are good", "one is good", "none agrees", "none is accurate"],
)
def test_what_is_wanting_decides_between_the_methods(
    monkeypatch: pytest.MonkeyPatch, right: Sequence[float], same: Sequence[float], taken: str
) -> None:
    shown = parity.seeded_noise(1100, SIZE, 3, seed=7)  # 1,000 to be asked, of which one is a thousandth
    monkeypatch.setattr("tests.unit.test_smaller.SHOWN", shown)
    monkeypatch.setattr(choice, "CALIBRATION", 100)
    methods = [f"{method} 0" for method in smaller.METHODS]
    quantiser = Quantiser(dict(zip(methods, right, strict=True)), dict(zip(methods, same, strict=True)))
    for method in smaller.METHODS:
        quantiser.same[f"{method} 2"] = 0.5
    assert chosen(monkeypatch, quantiser)[0] == taken


def test_the_network_is_equalised_on_the_pictures_that_it_is_calibrated_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def equalised(given: Classifier, images: Any) -> Classifier:
        seen.append(images)
        return given

    monkeypatch.setattr(equalising, "equalised", equalised)
    chosen(monkeypatch, Quantiser())
    assert np.array_equal(seen[0], SHOWN[:100])


def test_the_middles_of_pictures_are_enlarged_smoothly() -> None:
    columns = np.zeros((70, 8, 8, 1), np.uint8)
    columns[:, :, 4:] = 100
    # Bilinear: values at quarters and three quarters of the way from one column's middle to the next one's.
    assert choice.enlarged_middles(columns)[69, 3, :, 0].tolist() == [0, 0, 0, 25, 75, 100, 100, 100]
    assert choice.enlarged_middles(columns[:, :5, 2:7]).shape == (70, 5, 5, 1)


@pytest.mark.parametrize(("layers", "steps"), [(1, []), (2, []), (3, [2]), (4, [2, 3])])
def test_a_step_leaves_layers_to_quantise(layers: int, steps: list[int]) -> None:
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(48, 48) for _ in range(layers - 1)), nn.Linear(48, 3))
    model = graph.trace(Classifier(network, [0.5] * 3, [0.25] * 3, 1.0), size=4, channels=3)
    assert [len(step) for step in smaller.float_layers(model)] == steps
