"""How the int8 graph of a network is chosen: its calibration method, and the layers that stay in float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch.nn.functional import interpolate

from export import parity, runtimes, smaller
from export.parity import Pictures
from training.pixels import Pixels

CALIBRATION = 512  # training pictures, of which the ranges of activations are taken
MAX_LOSS = 0.001  # of accuracy on training pictures, in 0..1: beyond it layers stay in float
# On the shipped networks this goes with 3 to 5 other answers to the gate's 256 crops of photographs, where it allows 7.
SAME_ENLARGED = 0.97
Finish = Callable[[ModelProto], bytes]


@dataclass(frozen=True)
class _Exam:
    """Labelled training pictures and their enlarged middles, smooth as photographs are, with fp32's answers."""

    known: Pixels
    truth: NDArray[np.int64]
    known_answers: NDArray[np.int64]
    enlarged: Pixels
    enlarged_answers: NDArray[np.int64]

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
    same_enlarged: float  # answers to their enlarged middles that are fp32's


def chosen(
    plain: ModelProto, finish: Finish, training: Pictures, *, shown: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """An int8 graph of the float32 graph `plain`, and how it was chosen by labelled `training` pictures.

    Ranges are taken from some of the pictures, and the calibration method is chosen on the others. Layers stay in float
    as far as it takes to lose no more than MAX_LOSS there, and to answer as fp32 does on their enlarged middles too.
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
    steps = [max(each, key=lambda one: _worth(one, exam))]
    for floating in smaller.float_layers(plain):
        if _good(steps[-1], exam):
            break
        steps.append(tried(steps[0].method, floating))
    best = max(steps, key=lambda one: _worth(one, exam))
    chosen_on = {"pictures": len(exam.known), "fp32": exam.reference, **{one.method: one.right for one in each}}
    told = {
        "method": best.method,
        "pictures": count,
        "accuracy": chosen_on,
        "agreement_enlarged": best.same_enlarged,
        "float_layers": best.floating,
    }
    return best.model, {"calibration": told}


def _answers(model: bytes, images: Pixels) -> NDArray[np.int64]:
    """The classes, int64 [N], that an ONNX file gives for pictures, uint8 [N, H, W, C]."""
    logits = parity.in_batches(runtimes.onnx_runner(model), images, parity.WHOLE).logits
    return np.asarray(logits.argmax(axis=1), np.int64)


def _exam(reference: bytes, known: Pixels, truth: NDArray[np.int64]) -> _Exam:
    enlarged = _enlarged_middles(known)
    return _Exam(known, truth, _answers(reference, known), enlarged, _answers(reference, enlarged))


def _enlarged_middles(images: Pixels) -> Pixels:
    """The middle of each picture, half as wide and high, enlarged to the whole: uint8 [N, H, W, C]."""
    size = images.shape[1]
    start, side = size // 4, (size + 1) // 2
    middles = torch.from_numpy(images[:, start : start + side, start : start + side]).movedim(3, 1).float()
    enlarged = interpolate(middles, size=size, mode="bilinear", align_corners=False)
    return np.ascontiguousarray(enlarged.round().to(torch.uint8).movedim(1, 3).numpy())


def _examined(model: bytes, method: str, floating: Sequence[str], exam: _Exam) -> _Tried:
    return _Tried(
        model=model,
        method=method,
        floating=list(floating),
        right=float(np.mean(_answers(model, exam.known) == exam.truth)),
        same_enlarged=float(np.mean(_answers(model, exam.enlarged) == exam.enlarged_answers)),
    )


def _good(one: _Tried, exam: _Exam) -> bool:
    """Whether no more layers need to stay in float."""
    return exam.reference - one.right <= MAX_LOSS and one.same_enlarged >= SAME_ENLARGED


def _worth(one: _Tried, exam: _Exam) -> tuple[float, ...]:
    """What makes one graph better than another, the most important first."""
    return _good(one, exam), one.same_enlarged >= SAME_ENLARGED, one.right, one.same_enlarged
