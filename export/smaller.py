"""Smaller variants of a float32 graph: int8 by ONNX Runtime's static quantiser, fp16 by its converter. No gate is here.

Preprocessing and probabilities stay float32 in both: they cost nothing, and every answer depends on them.
"""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_utils, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export import onnxfile
from training.pixels import Pixels

METHODS = ("MinMax", "Entropy", "Percentile")
WEIGHTED = ("Conv", "Gemm", "MatMul")
# What is computed in 8 bits, and what passes 8 bits on, so that nothing is converted back in between.
QUANTISED = [*WEIGHTED, "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten"]
BATCH = 64


class Reader:
    """Pictures uint8 [N, H, W, C] as ONNX Runtime's calibration asks for them: in batches, of which it takes ranges."""

    def __init__(self, images: Pixels) -> None:
        self._batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        self._left = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give the batches from one number up to another next."""
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, Pixels] | None:
        """The next batch, by the name of the input; None after the last one."""
        batch = next(self._left, None)
        return None if batch is None else {"images": batch}


def to_int8(model: ModelProto, images: Pixels, method: str, floating: Sequence[str] = ()) -> ModelProto:
    """Weights int8 by channel and activations uint8, whose ranges `method` finds on `images`, uint8 [N, H, W, C].

    The layers named in `floating` stay float32, and so do the logits: in 8 bits they would be steps of a tenth.
    """
    source = ModelProto()
    source.CopyFrom(model)
    quant_utils.add_pre_process_metadata(source)  # the exporter has done what it would warn of
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "model.onnx"
        quantize_static(
            source,
            path,
            Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(floating),
            calibrate_method=CalibrationMethod[method],
            # Ranges from a batch at a time: the activations of all pictures would fill the memory.
            extra_options={"CalibStridedMinMax": 1, "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        quantised = onnx.load(path)
    onnxfile.strip(quantised)
    return quantised


def to_fp16(model: ModelProto) -> ModelProto:
    """Weights and arithmetic of every layer float16; pictures still uint8, and both outputs float32."""
    source = ModelProto()
    source.CopyFrom(model)
    # The converter gives every output as float16 and casts it back, so what makes the probabilities is put aside.
    nodes = list(model.graph.node)
    cut = next(number for number, node in enumerate(nodes) if "logits" in node.input)
    del source.graph.node[cut:], source.graph.output[1:]
    first = next(number for number, node in enumerate(nodes) if node.op_type in WEIGHTED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights too small for float16, which the gate judges
        converted: ModelProto = convert_float_to_float16(
            source, keep_io_types=True, node_block_list=[node.name for node in nodes[:first]]
        )
    converted.graph.node.extend(nodes[cut:])
    converted.graph.output.extend(model.graph.output[1:])
    OnnxModel(converted).topological_sort(is_deterministic=True)  # its casts are all at the end
    del converted.graph.value_info[:]  # of float32, where it changed the types
    onnxfile.strip(converted)
    return converted


def float_layers(model: ModelProto) -> list[list[str]]:
    """Which layers with weights may stay float32, step by step: the first and the last one, and the second one too.

    What the first ones round, all others pass on; the last one makes the logits. A step leaves layers to quantise.
    """
    names = [str(node.name) for node in model.graph.node if node.op_type in WEIGHTED]
    steps = ([names[0], names[-1]], [names[0], names[-1], *names[1:2]])
    return [step for step in steps if len(set(step)) < len(names)]
