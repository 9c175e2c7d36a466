"""A plain image classifier that somebody else exported: float32 pictures [N, C, S, S] in, a number for each class out.

Here it is read and refused, with the reason, where it is anything else; nothing of it is changed or run.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, ValueInfoProto

from export import manifest, onnxfile

OLDEST_OPSET = 7  # the oldest that ONNX Runtime promises to run
NEWEST_OPSET = onnx.defs.onnx_opset_version()
# Nodes that leave every number as it is.
PASSING = frozenset({"Identity", "Cast", "Flatten", "Reshape", "Squeeze"})
LAYOUTS = "a classifier of NCHW pictures is needed: one float32 input [N, C, S, S]"


class ForeignError(Exception):
    """The model cannot be imported; the message names the file and the reason."""


@dataclass(frozen=True)
class Foreign:
    """A classifier as it was exported, and what was found in it."""

    name: str  # of its file
    content: bytes
    model: ModelProto  # the same, its functions written out where they are called
    input: str
    output: str
    channels: int
    size: int  # side of a picture in pixels
    batch: int | None  # how many pictures it must get at once; None where any number will do

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()


def read(path: Path, *, channels: int, size: int | None) -> Foreign:
    """Read and check a model for pictures of `channels`, and of `size` where it does not say. Raises ForeignError."""
    try:
        if path.stat().st_size > manifest.LARGEST_FILE:
            raise ForeignError(f"{path} is larger than 2 GiB, the most that one ONNX file can hold")
        content = path.read_bytes()
    except OSError as error:
        raise ForeignError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _checked(path.name, content, channels, size)
    except ValueError as error:
        raise ForeignError(f"{path}: {error}") from error


def first_line(error: Exception) -> str:
    """The first words of an error; ONNX Runtime goes on with places in its own source."""
    return str(error).strip().partition("\n")[0].partition(" Status Message:")[0][:300]


def _checked(name: str, content: bytes, channels: int, size: int | None) -> Foreign:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise ValueError("it is not an ONNX file") from None
    if not model.graph.node:
        raise ValueError("it is not an ONNX file with a graph")
    onnxfile.refuse_external_data(model)
    onnxfile.refuse_unfinite_numbers(model)
    _check_opset(model)
    try:
        onnx.checker.check_model(model)
        model = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError) as error:
        raise ValueError(f"the ONNX checker refuses it: {first_line(error)}") from error
    _check_operators(model)
    source, target = _one_input(model), _one_output(model)
    batch, side = _picture(source, channels, size)
    return Foreign(name, content, model, source.name, target.name, channels, side, batch)


def _check_opset(model: ModelProto) -> None:
    version = onnxfile.opset(model)
    if version < OLDEST_OPSET:
        raise ValueError(f"opset {version} is older than {OLDEST_OPSET}, the oldest that is run; export it again")
    if version > NEWEST_OPSET:
        raise ValueError(
            f"opset {version} is newer than {NEWEST_OPSET}, the newest that onnx {onnx.__version__} knows; "
            "export it again with an older one, e.g. opset_version=20"
        )


def _check_operators(model: ModelProto) -> None:
    for node in onnxfile.nodes(model):
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"it uses {node.op_type} of {node.domain}; only ONNX's own operators are taken")


def _one_input(model: ModelProto) -> ValueInfoProto:
    # Up to IR version 3 every weight was an input too.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs ({_named(inputs)}); {LAYOUTS}")
    _check_float(inputs[0], f"its input; {LAYOUTS}")
    return inputs[0]


def _one_output(model: ModelProto) -> ValueInfoProto:
    outputs = list(model.graph.output)
    needed = "one float32 output [N, classes] is needed"
    if len(outputs) != 1:
        raise ValueError(f"it has {len(outputs)} outputs ({_named(outputs)}); {needed}")
    _check_float(outputs[0], f"its output; {needed}")
    shape = outputs[0].type.tensor_type
    if shape.HasField("shape") and len(shape.shape.dim) != 2:
        raise ValueError(f"its output {outputs[0].name!r} has shape {_dimensions(outputs[0])}; {needed}")
    if _last_operator(model, outputs[0].name) == "Sigmoid":
        raise ValueError(
            "it ends in Sigmoid: each class has a probability of its own, and the service answers with one class of all"
        )
    return outputs[0]


def _check_float(value: ValueInfoProto, what: str) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        found = TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else "unknown"
        raise ValueError(f"{value.name} is of type {found}, {what}")


def _picture(source: ValueInfoProto, channels: int, size: int | None) -> tuple[int | None, int]:
    """The fixed batch, if there is one, and the side of a picture."""
    shape = _dimensions(source)
    if len(shape) != 4:
        raise ValueError(f"its input {source.name!r} has shape {shape}; {LAYOUTS}")
    batch, found, *sides = shape
    if found not in (None, channels) and sides[1] == channels:
        raise ValueError(f"its input {source.name!r} has shape {shape}, which is NHWC; {LAYOUTS}")
    if found not in (None, channels):
        raise ValueError(f"it takes pictures of {found} channels, and mean and std are given for {channels}")
    for side in sides:
        if size is not None and side not in (None, size):
            raise ValueError(f"it takes pictures of {sides[0]}x{sides[1]} pixels, not of --size {size}")
    side = size if size is not None else sides[0] if sides[0] == sides[1] else None
    if side is None and None in sides:
        raise ValueError(f"its input {source.name!r} has shape {shape}; say with --size how large pictures are")
    if side is None:
        raise ValueError(f"it takes pictures of {sides[0]}x{sides[1]} pixels; only squares are served")
    if not 1 <= side <= manifest.LARGEST_SIDE:
        raise ValueError(f"pictures must have 1 to {manifest.LARGEST_SIDE} pixels a side, not {side}")
    return batch, side


def _dimensions(value: ValueInfoProto) -> list[int | None]:
    """The shape, with None where any number will do: exporters give such an axis a name, no value, 0 or -1."""
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


def _last_operator(model: ModelProto, output: str) -> str:
    """The operator that computes an output, whatever passes its numbers on."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in PASSING:
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)


def _named(values: Sequence[ValueInfoProto]) -> str:
    return ", ".join(value.name for value in values) or "none"
