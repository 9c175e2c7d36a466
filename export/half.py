"""Weights at half the size in an exported graph: kept as float16 and cast back inside it, wherever nothing is lost.

There is no flag. What a checkpoint stores as float16 is exact in float16, and weights of full precision are not, so
their graph stays as it was, byte for byte. ONNX Runtime computes the added nodes once, when it loads the graph: what
it then runs is the float32 graph, value by value.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn

Values = NDArray[Any]

# Two bytes saved a value are soon less than the nodes that cast it back, and few values may be exact by chance.
FEWEST_VALUES = 1024


def halve(model: onnx.ModelProto, module: nn.Module) -> None:
    """Store the float32 weights of `module` in its exported `model` as float16 where that is lossless. In place.

    The exporter multiplies a layer's weights with the scales of the batch norm that follows, and the product is not
    exact in float16. The weights before it may be: then they are stored, and the graph multiplies.
    """
    state = {name: tensor.numpy(force=True) for name, tensor in module.state_dict().items()}
    scales = list(_norm_scales(module))
    initializers: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for initializer in model.graph.initializer:
        weights = state.get(initializer.name)
        stored = None if weights is None else _as_float16(initializer, weights, scales)
        if stored is None:
            initializers.append(initializer)
        else:
            initializers += stored[0]
            nodes += stored[1]
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(initializers)
    model.graph.node.extend(nodes)


def _as_float16(
    initializer: TensorProto, weights: Values, scales: list[Values]
) -> tuple[list[TensorProto], list[NodeProto]] | None:
    """What gives the initialiser's very values under its name from weights in float16; None where nothing does."""
    values, name = numpy_helper.to_array(initializer), initializer.name
    with np.errstate(over="ignore"):  # what becomes infinite is not equal
        half = weights.astype(np.float16)
    if weights.size < FEWEST_VALUES or weights.shape != values.shape or not np.array_equal(half, weights):
        return None
    kept = numpy_helper.from_array(half, f"{name}.float16")
    if np.array_equal(weights, values):
        return [kept], [_cast(kept.name, name)]
    for scale in scales:
        column = scale.reshape(-1, *[1] * (weights.ndim - 1))
        if len(scale) == len(weights) and np.array_equal(weights * column, values):
            factor = numpy_helper.from_array(column, f"{name}.scale")
            multiplication = helper.make_node("Mul", [f"{name}.float32", factor.name], [name], f"{name}.scaled")
            return [kept, factor], [_cast(kept.name, f"{name}.float32"), multiplication]
    return None


def _cast(source: str, target: str) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}.cast", to=TensorProto.FLOAT)


def _norm_scales(module: nn.Module) -> Iterator[Values]:
    """What each batch norm multiplies with, reckoned as onnxscript's `_fuse_batchnorm` does: float32 [C]."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_var is not None:
            yield norm.weight.numpy(force=True) / np.sqrt(norm.running_var.numpy(force=True) + norm.eps)
