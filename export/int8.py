"""How the int8 graph of a network is chosen: its calibration method, and the layers that stay in float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from export import parity, pictures, runtimes, smaller
from export.limits import EIGHT_BITS
from export.parity import Pictures
from export.verdicts import allowed
from training.pixels import Pixels

CALIBRATION = 512  # training pictures, of which the ranges of activations are taken
MAX_LOSS = 0.001  # of accuracy on training pictures, in 0..1: beyond it layers stay in float
Finish = Callable[[ModelProto], bytes]


@dataclass(frozen=True)
class _Exam:
    """Pictures with fp32's answers: labelled training pictures, and others of a kind that no data set has."""

    known: Pixels
    truth: NDArray[np.int64]
    known_answers: NDArray[np.int64]
    strange: Pixels
    strange_answers: NDArray[np.int64]

    @property
    def reference(self) -> float:
        """How often fp32 is right, in 0..1."""
        return float(np.mean(self.known_answers == self.truth))


@dataclass(frozen=True)
class _Tried:
    """An int8 graph, how it was made, and how it does in the exam, shares in 0..1."""

    model: bytes = field(repr=False)
    method: str
    floating: list[str]
    right: float  # of the labelled pictures
    same: float  # answers to them that are fp32's
    strange: int  # answers to the others that are not fp32's


def chosen(
    plain: ModelProto, finish: Finish, training: Pictures, *, shown: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """The int8 graph that is right most often on labelled `training` pictures, and how it was chosen.

    Ranges are taken from some of the pictures, and the calibration method is chosen on the others. Layers stay in float
    as far as it takes to be as right as fp32 there, and to answer as fp32 does on crops of photographs.
    """
    assert training.labels is not None
    count = min(CALIBRATION, len(training.images) // 2)
    calibration = training.images[:count]
    exam = _exam(finish(plain), training.images[count:], training.labels[count:])

    def tried(method: str, floating: Sequence[str] = ()) -> _Tried:
        return _examined(finish(smaller.to_int8(plain, calibration, method, floating)), method, floating, exam)

    each = []
    with parity.progress("int8 by each method", len(smaller.METHODS) * len(training.images), shown) as bar:
        for method in smaller.METHODS:
            each.append(tried(method))
            bar.update(len(training.images))
    steps = [max(each, key=lambda one: one.right)]
    for floating in smaller.float_layers(plain):
        if _good(steps[-1], exam):
            break
        steps.append(tried(steps[0].method, floating))
    best = steps[-1] if _good(steps[-1], exam) else max(steps, key=lambda one: (one.right, one.same, -one.strange))
    chosen_on = {"pictures": len(exam.known), "fp32": exam.reference, **{one.method: one.right for one in each}}
    told = {"method": best.method, "pictures": count, "accuracy": chosen_on, "float_layers": best.floating}
    return best.model, {"calibration": told}


def _answers(model: bytes, images: Pixels) -> NDArray[np.int64]:
    """The classes, int64 [N], that an ONNX file gives for pictures, uint8 [N, H, W, C]."""
    found: NDArray[np.int64] = parity.in_batches(runtimes.onnx_runner(model), images, parity.WHOLE).logits.argmax(
        axis=1
    )
    return found


def _exam(reference: bytes, known: Pixels, truth: NDArray[np.int64]) -> _Exam:
    size, channels = known.shape[2:]
    strange = pictures.default(size, channels).images
    return _Exam(known, truth, _answers(reference, known), strange, _answers(reference, strange))


def _examined(model: bytes, method: str, floating: Sequence[str], exam: _Exam) -> _Tried:
    found = _answers(model, exam.known)
    return _Tried(
        model=model,
        method=method,
        floating=list(floating),
        right=float(np.mean(found == exam.truth)),
        same=float(np.mean(found == exam.known_answers)),
        strange=int(np.sum(_answers(model, exam.strange) != exam.strange_answers)),
    )


def _good(one: _Tried, exam: _Exam) -> bool:
    """Whether no more layers need to stay in float.

    Half of the other answers that the gate lets pass are the limit, as other processors round in other places.
    """
    return exam.reference - one.right <= MAX_LOSS and one.strange <= allowed(EIGHT_BITS, len(exam.strange)) / 2
