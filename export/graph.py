"""From a checkpoint's serving module to the bytes of an ONNX file."""

from collections.abc import Sequence

import onnx
import torch
from torch.export import Dim

from export import half, manifest, onnxfile
from training.classifier import Classifier

OPSET = 20


class GraphError(Exception):
    """The exported graph is not what it must be."""


def to_onnx(
    classifier: Classifier, *, size: int, channels: int, classes: Sequence[str], checkpoint_sha256: str | None = None
) -> bytes:
    """ONNX of `classifier`: uint8 `images` [N, H, W, C], N dynamic, to float32 `logits` and `probabilities` [N, K].

    Weights that are exact in float16 are stored so and cast back inside; arithmetic is float32. The file says what it
    is in its properties, and names the checkpoint where there is one; equal content gives equal bytes.
    Raises GraphError for weights that are not finite numbers, and where the checker refuses the graph.
    """
    model = trace(classifier, size=size, channels=channels)
    half.halve(model, classifier)
    return finish(model, size=size, channels=channels, classes=classes, checkpoint_sha256=checkpoint_sha256)


def trace(classifier: Classifier, *, size: int, channels: int) -> onnx.ModelProto:
    """The graph with float32 weights, norms folded into them, before it says what it is."""
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
    onnxfile.strip(model)
    return model


def finish(
    model: onnx.ModelProto, *, size: int, channels: int, classes: Sequence[str], checkpoint_sha256: str | None = None
) -> bytes:
    """The bytes of a graph, or of a variant of it, that says what it is and was checked. Raises GraphError."""
    source = {} if checkpoint_sha256 is None else {"checkpoint_sha256": checkpoint_sha256}
    onnxfile.label(model, classes=classes, contract=manifest.input_contract(size, channels), source=source)
    _check(model, size, channels, len(classes))
    return bytes(model.SerializeToString(deterministic=True))


def _check(model: onnx.ModelProto, size: int, channels: int, classes: int) -> None:
    try:
        onnxfile.refuse_external_data(model)
        onnxfile.refuse_unfinite_numbers(model)
    except ValueError as error:
        raise GraphError(f"the exported graph cannot be used: {error}") from error
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
