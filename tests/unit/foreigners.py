"""Classifiers that somebody else exported: by torch's two exporters, or put together node by node."""

import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import nn
from torchvision.transforms import v2

from export import foreign
from export.foreign import Foreign
from export.wrapping import Normalisation
from training.pixels import Pixels

CLASSES = ["ant", "bee", "cow", "doe", "elk"]
SIZE = 8
NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@cache
def network() -> nn.Module:
    """Random weights; it tells channels, places and pictures apart."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 2 * 2, len(CLASSES))).eval()


def by_torch(images: Pixels) -> torch.Tensor:
    """What the network gives, with torchvision's own preprocessing."""
    prepare = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(NORMALISATION.mean, NORMALISATION.std)]
    )
    with torch.inference_mode():
        scores_: torch.Tensor = network()(torch.stack([prepare(image) for image in images]))
    return scores_


@cache
def exported(exporter: str, batch: int | None = None, last: nn.Module | None = None) -> bytes:
    """The network by exporter `classic` or `dynamo`, for any batch or a fixed one, with a layer after the last."""
    module = network() if last is None else nn.Sequential(network(), last).eval()
    example = torch.zeros(batch or 2, 3, SIZE, SIZE)
    options: dict[str, Any] = {"dynamo": exporter == "dynamo", "input_names": ["input"], "verbose": False}
    if exporter == "dynamo":
        options |= {"external_data": False, "dynamic_shapes": None if batch else ({0: torch.export.Dim("n")},)}
    elif batch is None:
        options["dynamic_axes"] = {"input": {0: "n"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own deprecated parts
        torch.onnx.export(module, (example,), Path(folder) / "model.onnx", **options)
        return (Path(folder) / "model.onnx").read_bytes()


def picture(shape: Sequence[int | str | None] = ("n", 3, SIZE, SIZE), kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """An input."""
    return helper.make_tensor_value_info("input", kind, list(shape))


def scores(shape: Sequence[int | str | None] | None = ("n", 5), kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """An output."""
    return helper.make_tensor_value_info("output", kind, shape and list(shape))


def weight(name: str = "weight", shape: Sequence[int] = (3, 5)) -> TensorProto:
    """Small random numbers, every time the same."""
    values = np.random.default_rng(len(name)).normal(size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def nodes(*last: NodeProto) -> list[NodeProto]:
    """The mean of each channel times a matrix; what comes `last` makes `output` of `scores`."""
    return [
        helper.make_node("GlobalAveragePool", ["input"], ["means"]),
        helper.make_node("Flatten", ["means"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weight"], ["scores" if last else "output"]),
        *last,
    ]


def model(
    inputs: Sequence[ValueInfoProto] = (),
    outputs: Sequence[ValueInfoProto] = (),
    made_of: Sequence[NodeProto] = (),
    weights: Sequence[TensorProto] = (),
    opset: int = 20,
    **options: Any,
) -> ModelProto:
    """A classifier of five classes by the mean of each channel, but for what is given."""
    graph = helper.make_graph(
        list(made_of or nodes()),
        "graph",
        list(inputs or [picture()]),
        list(outputs or [scores()]),
        weights or [weight()],
    )
    imports = [helper.make_opsetid("", opset), *options.pop("imports", ())]
    return helper.make_model(graph, opset_imports=imports, producer_name="elsewhere", **{"ir_version": 8, **options})


def written(path: Path, content: bytes | ModelProto) -> Path:
    """The model in a file."""
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def read(folder: Path, content: bytes | ModelProto, size: int | None = None, channels: int = 3) -> Foreign:
    """The model as it is read for an import."""
    return foreign.read(written(folder / "model.onnx", content), channels=channels, size=size)


def external(folder: Path) -> ModelProto:
    """A model whose weights are in another file, which exists."""
    whole = model()
    onnx.save(whole, folder / "whole.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return onnx.load(folder / "whole.onnx", load_external_data=False)
