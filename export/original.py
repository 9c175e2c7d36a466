"""A foreign classifier as it came: what a bundle made of it must reproduce.

This shares no code with the graph it checks. NumPy prepares the pictures as torchvision documents it, and ONNX Runtime
runs the original file; onnx's own evaluator, which is plain NumPy, has a word on a few pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from export.bundle import Outputs, Runner
from export.foreign import Foreign, ForeignError, first_line
from export.wrapping import FLOOR, Normalisation
from training.pixels import Pixels

Values = NDArray[np.float32]
Network = Callable[[Values], Values]  # prepared pictures [N, C, S, S] to what the model gives for them

# Probabilities in float32 add up to 1 within 1e-6; logits of several pictures do not come as near to it by chance.
SUM_LIMIT = 1e-3
FATAL = 4  # the highest level of ONNX Runtime's log


@dataclass(frozen=True)
class Original:
    """A classifier that runs, and how it wants its pictures; it gives logits, or else probabilities."""

    source: Foreign
    normalisation: Normalisation
    gives_probabilities: bool

    def runner(self, network: Network) -> Runner:
        """Both outputs for uint8 pictures [N, S, S, C], by the model in the runtime that `network` is."""

        def run(images: Pixels) -> Outputs:
            found = in_batches(network, prepared(images, self.normalisation), self.source.batch)
            if self.gives_probabilities:
                return Outputs(np.log(found + np.float32(FLOOR)), found)
            powers = np.exp(found - found.max(axis=1, keepdims=True))
            return Outputs(found, powers / powers.sum(axis=1, keepdims=True))

        return run


def examine(source: Foreign, normalisation: Normalisation, images: Pixels, classes: int) -> Original:
    """Run the model on a few pictures uint8 [N, S, S, C]. Raises ForeignError where it does not classify them."""
    try:
        found = in_batches(in_onnx_runtime(source), prepared(images, normalisation), source.batch)
    except Exception as error:  # ONNX Runtime raises types of its own, none of them documented
        raise ForeignError(f"{source.name}: ONNX Runtime cannot run it: {first_line(error)}") from error
    if found.ndim != 2 or len(found) != len(images):
        raise ForeignError(f"{source.name} gives shape {list(found.shape)} for {len(images)} pictures")
    if found.shape[1] != classes:
        raise ForeignError(
            f"{source.name} gives {found.shape[1]} numbers for a picture, and {classes} classes are named"
        )
    if not np.isfinite(found).all():
        raise ForeignError(f"{source.name} gives numbers that are not finite (NaN or infinite)")
    sums = found.sum(axis=1)
    return Original(source, normalisation, bool((found >= 0).all() and np.abs(sums - 1).max() < SUM_LIMIT))


def prepared(images: Pixels, normalisation: Normalisation) -> Values:
    """uint8 [N, S, S, C] as float32 [N, C, S, S]: to 0..1, less the mean, by the deviation, in float64."""
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    return np.ascontiguousarray(((images / 255 - mean) / std).transpose(0, 3, 1, 2), np.float32)


def in_batches(network: Network, values: Values, batch: int | None) -> Values:
    """What the network gives, in batches of exactly `batch` where it takes no other; the last one is filled up."""
    if batch is None:
        return network(values)
    parts = []
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        full = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        parts.append(network(full)[: len(part)])
    return np.concatenate(parts)


def quiet_session(content: bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU that prints nothing of its own: what fails in it is told in words of ours."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def in_onnx_runtime(source: Foreign) -> Network:
    """The original file in ONNX Runtime's CPU provider."""
    return _network(quiet_session(source.content), source)


def in_evaluator(source: Foreign) -> Network:
    """The model in onnx's reference evaluator. What it cannot evaluate it raises, in types of its own."""
    return _network(ReferenceEvaluator(source.model), source)


def _network(runner: onnxruntime.InferenceSession | ReferenceEvaluator, source: Foreign) -> Network:
    def run(values: Values) -> Values:
        found: Values = runner.run([source.output], {source.input: values})[0]
        return found

    return run
