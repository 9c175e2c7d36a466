"""The graph of a bundle around a foreign classifier: uint8 pictures in, logits and probabilities out, any batch.

Before it stand a cast, a transposition to NCHW, one multiplication and one addition for scale and normalisation; after
it the softmax. The classifier's own nodes are as they were, but for a batch that was fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from export import onnxfile
from export.foreign import Foreign

PREFIX = "imported."  # before every name inside, so that none is ours
# Added to probabilities before their logarithm, as zero has none: e**-69.
FLOOR = 1e-30


@dataclass(frozen=True)
class Normalisation:
    """(x / 255 - mean) / std for each channel: mean and std are on the scale 0..1, as torchvision documents them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def wrap(source: Foreign, normalisation: Normalisation, classes: int, *, from_probabilities: bool) -> ModelProto:
    """uint8 `images` [N, S, S, C] to float32 `logits` and `probabilities` [N, classes] by the foreign classifier.

    Where that gives probabilities itself, their logarithms are the logits: the softmax then gives them back.
    """
    model = ModelProto()
    model.CopyFrom(source.model)
    if source.batch is not None:
        _free(model, source.batch)
    _rename(model)
    graph = model.graph
    before, constants = _before(normalisation, f"{PREFIX}{source.input}")
    after, more = _after(f"{PREFIX}{source.output}", from_probabilities)
    nodes = [*before, *graph.node, *after]
    weights = [*_used(model), *constants, *more]
    pictures = ["batch", source.size, source.size, source.channels]
    wrapped = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, pictures)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", classes]) for n in ("logits", "probabilities")],
        weights,
        sparse_initializer=graph.sparse_initializer,
    )
    return helper.make_model(
        wrapped,
        opset_imports=[helper.make_opsetid("", onnxfile.opset(model))],  # whatever functions had, they are written out
        ir_version=max(model.ir_version, 4),  # before, every weight would have to be an input
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def _before(normalisation: Normalisation, target: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    std = np.array(normalisation.std, np.float64)
    scale, offset = 1 / (255 * std), -np.array(normalisation.mean, np.float64) / std
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"], "multiply"),
        helper.make_node("Add", ["scaled", "offset"], [target], "add"),
    ]
    return nodes, [_constant("scale", scale.reshape(1, -1, 1, 1)), _constant("offset", offset.reshape(1, -1, 1, 1))]


def _after(source: str, from_probabilities: bool) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    softmax = helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1)
    if not from_probabilities:
        return [helper.make_node("Identity", [source], ["logits"], "logits"), softmax], []
    nodes = [
        helper.make_node("Add", [source, "floor"], ["above_zero"], "above_zero"),
        helper.make_node("Log", ["above_zero"], ["logits"], "logarithm"),
    ]
    return [*nodes, softmax], [_constant("floor", np.array(FLOOR))]


def _constant(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)


def _rename(model: ModelProto) -> None:
    """Put the prefix before every name. All of them, so that inner graphs still find what is outside."""
    for graph in onnxfile.graphs(model):
        for node in graph.node:
            node.name = _prefixed(node.name)
            for names in (node.input, node.output):
                names[:] = map(_prefixed, names)
        if isinstance(graph, GraphProto):
            sparse = [tensor for entry in graph.sparse_initializer for tensor in (entry.values, entry.indices)]
            for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *sparse):
                part.name = _prefixed(part.name)


def _prefixed(name: str) -> str:
    # A node may have no name, and an input that is left out has an empty one.
    return name and f"{PREFIX}{name}"


def _free(model: ModelProto, batch: int) -> None:
    """Take the fixed batch out of the shapes that the model reshapes to. In place.

    Exporters write such a batch down as a number, above all where a picture's features become one row. Other places
    are left alone: the model then fails with another batch, or at the gate.
    """
    known = onnx.shape_inference.infer_shapes(model).graph
    first = {
        value.name: value.type.tensor_type.shape.dim[0].dim_value
        for value in (*known.input, *known.value_info, *known.output)
        if value.type.tensor_type.shape.dim
    }
    shapes = _integers(model)
    for number, node in enumerate(model.graph.node):
        shape = shapes.get(node.input[1], ()) if node.op_type == "Reshape" else ()
        literal = [attribute for attribute in node.attribute if attribute.name == "allowzero" and attribute.i]
        if not shape or shape[0] != batch or first.get(node.input[0]) != batch or (literal and 0 in shape):
            continue
        # A zero stands for the same axis of what is reshaped, unless it is to be taken literally.
        for attribute in literal:
            node.attribute.remove(attribute)
        name = f"freed.{number}"
        model.graph.initializer.append(numpy_helper.from_array(np.array([0, *shape[1:]], np.int64), name))
        node.input[1] = name


def _used(model: ModelProto) -> list[TensorProto]:
    """The weights that something reads: ONNX Runtime would warn of every other one, each time it loads the file."""
    read = {name for node in onnxfile.nodes(model) for name in node.input}
    read |= {value.name for graph in onnxfile.graphs(model) if isinstance(graph, GraphProto) for value in graph.output}
    return [tensor for tensor in model.graph.initializer if tensor.name in read]


def _integers(model: ModelProto) -> dict[str, Sequence[int]]:
    """Every constant list of integers by its name."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name: numpy_helper.to_array(tensor).tolist()
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1
    }
