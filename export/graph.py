"""From a checkpoint's serving module to the bytes of an ONNX file."""

import json
from collections.abc import Sequence

import onnx
import torch
from torch.export import Dim

from export import half
from training.classifier import Classifier

OPSET = 20


class GraphError(Exception):
    """The exported graph is not what it must be."""


def to_onnx(classifier: Classifier, *, size: int, channels: int, classes: Sequence[str]) -> bytes:
    """ONNX of `classifier`: uint8 `images` [N, H, W, C], N dynamic, to float32 `logits` and `probabilities` [N, K].

    Weights that are exact in float16 are stored so and cast back inside; arithmetic is float32. Raises GraphError where
    the checker refuses the graph.
    """
    # Two pictures, because the exporter would take a batch of one for a constant.
    example = torch.zeros(2, size, size, channels, dtype=torch.uint8)
    program = torch.onnx.export(
        classifier.eval(),
        (example,),
        input_names=["images"],
        output_names=["logits", "probabilities"],
        dynamic_shapes={"images": {0: Dim("batch", min=1)}},
        opset_version=OPSET,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    half.halve(model, classifier)
    onnx.helper.set_model_props(model, {"classes": json.dumps(list(classes))})
    _check(model, size, channels, len(classes))
    return bytes(model.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Remove stack traces and names of source files: they tell paths of this machine and differ between machines."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""


def _check(model: onnx.ModelProto, size: int, channels: int, classes: int) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(f"the ONNX checker refuses the exported graph: {error}") from error
    shapes = {
        value.name: [axis.dim_value or None for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    expected = {
        "images": [None, size, size, channels],
        "logits": [None, classes],
        "probabilities": [None, classes],
    }
    if shapes != expected:
        raise GraphError(f"the exported graph has shapes {shapes}, not {expected} (None is the dynamic batch)")
