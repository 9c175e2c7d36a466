"""Half-precision weights in the graph: half the file, and the very arithmetic of the float32 graph."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export import assemble, bundle, graph, half, parity, runtimes
from service.engines import loading
from tests.conftest import ROOT
from training import checkpoint, networks, storage
from training.classifier import Classifier
from training.loop import Result
from training.recipe import Storage

CLASSES = ["cat", "dog", "frog"]
ELSEWHERE = """
from hashlib import sha256
from tests.unit.test_half import exported, rounded
print(sha256(exported(rounded("compact"))).hexdigest())
"""


def rounded(name: str, stored_as: Storage = "float16") -> Classifier:
    """Network `name` with random weights and statistics, as from a checkpoint that stores them so."""
    torch.manual_seed(0)
    network = networks.build(name, classes=len(CLASSES)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert values is not None
                values.uniform_(0.5, 2)
    network.load_state_dict(storage.stored(network.state_dict(), stored_as))
    return Classifier(network, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3], temperature=1.5)


def exported(classifier: Classifier, size: int = 32) -> bytes:
    return graph.to_onnx(classifier, size=size, channels=3, classes=CLASSES)


def exported_whole(classifier: Classifier) -> bytes:
    """The graph with the same values, all of them in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half, "halve", lambda *_: None)
        return exported(classifier)


@cache
def graph_of(name: str) -> bytes:
    """The graph of a rounded network; of `alexnet-bn` the exporter takes norms into kernels and into matrices."""
    return exported(rounded(name))


@cache
def whole_graph() -> bytes:
    """The graph of the rounded `alexnet-bn` in float32."""
    return exported_whole(rounded("alexnet-bn"))


def initializers(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    return {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}


def in_float16(model: bytes) -> dict[str, NDArray[Any]]:
    """What a graph keeps in half precision, by the name of the weights."""
    found = initializers(onnx.load_from_string(model).graph)
    return {name.removesuffix(".float16"): values for name, values in found.items() if values.dtype == np.float16}


def small(change: Callable[[dict[str, Tensor]], object]) -> bytes:
    """The graph of two linear layers with 48 * 32 and 32 * 3 rounded weights, of which some are changed."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Linear(32, 3))
    network.load_state_dict(storage.stored(network.state_dict(), "float16"))
    change(network.state_dict())
    return exported(Classifier(network, [0.5] * 3, [0.25] * 3, 1.0), size=4)


def optimised(model: bytes, path: Path) -> onnx.GraphProto:
    """What ONNX Runtime makes of a graph when the service loads it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file is for this processor only
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnx.load(path).graph


# The two large ones take long to export, and have nothing that `simple-cnn` has not.
@pytest.mark.parametrize("name", sorted(networks.NETWORKS.keys() - {"alexnet", "alexnet-32-big"}))
def test_every_large_weight_is_kept_in_float16_with_the_checkpoint_s_own_values(name: str) -> None:
    state = rounded(name).state_dict()
    large = {name: tensor for name, tensor in state.items() if tensor.numel() >= half.FEWEST_VALUES}
    found = in_float16(graph_of(name))
    assert found.keys() == large.keys()
    assert all(np.array_equal(found[name], tensor.numpy()) for name, tensor in large.items())


def test_the_file_takes_little_more_than_half_the_bytes() -> None:
    assert 0.5 < len(graph_of("alexnet-bn")) / len(whole_graph()) < 0.51


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_the_outputs_are_those_of_the_float32_graph_bit_by_bit(batch: int) -> None:
    images = parity.seeded_noise(batch, 32, 3)
    found, expected = (runtimes.onnx_runner(model)(images) for model in (graph_of("alexnet-bn"), whole_graph()))
    assert np.array_equal(found.logits, expected.logits)
    assert np.array_equal(found.probabilities, expected.probabilities)


def test_onnx_runtime_runs_the_same_nodes_on_the_same_values(tmp_path: Path) -> None:
    found, expected = (optimised(model, tmp_path / "run.onnx") for model in (graph_of("alexnet-bn"), whole_graph()))
    assert Counter(node.op_type for node in found.node) == Counter(node.op_type for node in expected.node)
    values, wanted = (sorted((v.shape, v.tobytes()) for v in initializers(run).values()) for run in (found, expected))
    assert values == wanted


def test_batch_norm_is_in_the_weights_of_what_onnx_runtime_runs(tmp_path: Path) -> None:
    run = {node.op_type for node in optimised(graph_of("alexnet-bn"), tmp_path / "optimised.onnx").node}
    assert "BatchNormalization" not in run


def test_weights_of_full_precision_give_the_graph_they_always_gave() -> None:
    plain = rounded("compact", "float32")
    assert exported(plain) == exported_whole(plain)


def test_another_process_exports_the_same_bytes() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    answer = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert answer.stdout.split()[-1] == sha256(graph_of("compact")).hexdigest()


def test_weights_too_few_to_be_worth_a_node_stay_float32() -> None:
    assert in_float16(small(lambda _: None)).keys() == {"network.1.weight"}


@pytest.mark.parametrize("value", [1 + 2.0**-12, 1e-9, 65_520.0, -1e9])
def test_one_value_that_float16_does_not_have_keeps_its_tensor_in_float32(value: float) -> None:
    assert not in_float16(small(lambda state: state["1.weight"][3, 7].fill_(value)))


def test_a_stored_checkpoint_passes_the_gate_and_serves_with_both_engines(tiny_run: Result, tmp_path: Path) -> None:
    source = checkpoint.load(tiny_run.path)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, source.metadata, storage.stored(source.weights, "float16"))
    written, report = assemble.export(path, tmp_path / "bundle")
    assert report.of("fp32").passed
    assert in_float16(written.load(bundle.MODEL))
    for name in ("onnx-cpu", "torch-cpu"):
        assert loading.load(name, written).name == name
