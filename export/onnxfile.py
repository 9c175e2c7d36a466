"""What every ONNX file of a bundle is, whoever exported it: whole in itself, finite, labelled, and of no machine.

Weights in another file (`external_data`) are outside the bundle's hashes, and a path there may lead anywhere; a weight
that is not a number need not show in any picture of the gate. Both are refused, as a ValueError with the reason.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

PROJECT = "alexnet-service"
FLOATING = frozenset(
    number for name, number in TensorProto.DataType.items() if name.startswith(("FLOAT", "BFLOAT", "DOUBLE", "COMPLEX"))
)


def refuse_external_data(model: ModelProto) -> None:
    """Raise ValueError where a tensor's values are in another file."""
    for name, tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(
                f"{name} is kept in another file (external data); save the model as one file, e.g. with "
                "torch.onnx.export(..., external_data=False)"
            )


def refuse_unfinite_numbers(model: ModelProto) -> None:
    """Raise ValueError for NaN or infinity in any weight or constant, of whatever precision; no external data."""
    for name, tensor in _tensors(model):
        if tensor.data_type not in FLOATING:
            continue
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} is damaged: {error}") from error
        _refuse_unfinite(name, values)
    for node in nodes(model):
        for attribute in node.attribute:
            numbers = [attribute.f, *attribute.floats]
            _refuse_unfinite(f"{attribute.name} of {node.op_type} {node.name}".strip(), np.array(numbers))


def strip(model: ModelProto) -> None:
    """Remove stack traces and names of source files: they tell paths of a machine and differ between machines."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in graphs(model):
        parts = [graph, *graph.node, *graph.value_info]
        if isinstance(graph, GraphProto):
            parts += [*graph.input, *graph.output, *graph.initializer]
        for part in parts:
            part.doc_string = ""
            del part.metadata_props[:]
        for node in graph.node:
            for attribute in node.attribute:
                attribute.doc_string = ""


def label(model: ModelProto, *, classes: Sequence[str], contract: Mapping[str, Any], source: Mapping[str, str]) -> None:
    """Write into the file what it is: classes, input contract, opset, IR version, who made it, and `source`.

    The properties are sorted, and lists and objects are sorted JSON, so that equal content gives equal bytes.
    """
    facts = {
        "classes": json.dumps(list(classes)),
        "exporter": f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        "input": json.dumps(contract, sort_keys=True),
        "ir_version": str(model.ir_version),
        "opset": str(opset(model)),
        "producer": f"{PROJECT} {version(PROJECT)}",
        **source,
    }
    onnx.helper.set_model_props(model, dict(sorted(facts.items())))


def labels(content: bytes) -> dict[str, str]:
    """What a file says of itself."""
    return {entry.key: entry.value for entry in onnx.load_model_from_string(content).metadata_props}


def require_classes(content: bytes, classes: Sequence[str]) -> None:
    """Raise ValueError where a file names other classes than these, or the same in another order."""
    named = json.loads(labels(content).get("classes", "null"))
    if named != list(classes):
        raise ValueError(f"the graph names the classes {named}, and the checkpoint {list(classes)}")


def provenance(labels: Mapping[str, str]) -> dict[str, Any]:
    """What a file's labels tell of how it was made, for bundle.json."""
    numbers = {name: int(labels[name]) for name in ("opset", "ir_version")}
    return {**numbers, "producer": labels["producer"], "exporter": labels["exporter"]}


def opset(model: ModelProto) -> int:
    """The version of ONNX's own operators that the model is written in; 0 where it names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def graphs(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """Every graph of a model: its own, those inside nodes, and its functions."""
    waiting: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of a model, also inside nodes and functions."""
    for graph in graphs(model):
        yield from graph.node


def _refuse_unfinite(name: str, values: Any) -> None:
    # The formats of 16 bits and less that NumPy itself does not have are exact in float32.
    known = values if values.dtype.kind in "fc" else values.astype(np.float32)
    if not np.isfinite(known).all():
        raise ValueError(f"{name} has weights that are not finite numbers (NaN or infinite)")


def _tensors(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Every tensor of a model with a name to report: weights, dense and sparse, and constants inside nodes."""
    for graph in graphs(model):
        sparse = []
        if isinstance(graph, GraphProto):
            yield from ((tensor.name or "a weight", tensor) for tensor in graph.initializer)
            sparse += graph.sparse_initializer
        for node in graph.node:
            for attribute in node.attribute:
                dense = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
                name = f"a constant of {node.op_type} {node.name}".strip()
                yield from ((name, tensor) for tensor in dense)
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
        for entry in sparse:
            yield from (("a sparse weight", tensor) for tensor in (entry.values, entry.indices))
