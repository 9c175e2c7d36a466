"""How the int8 graph of a network is chosen: its calibration method, and the layers that stay in float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch.nn.functional import interpolate

from export import equalising, graph, parity, runtimes, smaller
from export.parity import Pictures
from training.classifier import Classifier
from training.pixels import Pixels

CALIBRATION = 512  # training pictures, of which the ranges of activations are taken
MAX_LOSS = 0.001  # of accuracy on training pictures, in 0..1: beyond it layers stay in float
# On the enlarged middles. The shipped model, with 0.976, gives 4 other answers to the gate's 256 crops of photographs,
# where 7 may be others.
AGREEMENT = 0.97
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
    agreement: float  # answers to their enlarged middles that are fp32's


def chosen(
    classifier: Classifier, finish: Finish, training: Pictures, *, shown: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """An int8 graph of `classifier`, and how it was chosen by labelled `training` pictures.

    Ranges are taken from some of the pictures, and the calibration method is chosen on the others. Layers stay in float
    as far as it takes to lose no more than MAX_LOSS there, and to answer as fp32 does on their enlarged middles too.
    """
    assert training.labels is not None
    count = min(CALIBRATION, len(training.images) // 2)
    calibration = training.images[:count]
    size, channels = training.images.shape[2:]
    plain = graph.trace(equalising.equalised(classifier, calibration), size=size, channels=channels)
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
        "agreement_enlarged": best.agreement,
        "float_layers": best.floating,
    }
    return best.model, {"calibration": told}


def _answers(model: bytes, images: Pixels) -> NDArray[np.int64]:
    """The classes, int64 [N], that an ONNX file gives for pictures, uint8 [N, H, W, C]."""
    logits = parity.in_batches(runtimes.onnx_runner(model), images, parity.WHOLE).logits
    return np.asarray(logits.argmax(axis=1), np.int64)


def _exam(reference: bytes, known: Pixels, truth: NDArray[np.int64]) -> _Exam:
    enlarged = enlarged_middles(known)
    return _Exam(known, truth, _answers(reference, known), enlarged, _answers(reference, enlarged))


def enlarged_middles(images: Pixels) -> Pixels:
    """The middle of each picture, half as wide and high, enlarged to the whole: uint8 [N, H, W, C]."""
    size = images.shape[1]
    start, side = size // 4, (size + 1) // 2
    found = np.empty_like(images)
    for at in range(0, len(images), smaller.BATCH):
        batch = torch.from_numpy(images[at : at + smaller.BATCH, start : start + side, start : start + side])
        enlarged = interpolate(batch.movedim(3, 1).float(), size=size, mode="bilinear", align_corners=False)
        found[at : at + len(batch)] = enlarged.round().to(torch.uint8).movedim(1, 3).numpy()
    return found


def _examined(model: bytes, method: str, floating: Sequence[str], exam: _Exam) -> _Tried:
    return _Tried(
        model=model,
        method=method,
        floating=list(floating),
        right=float(np.mean(_answers(model, exam.known) == exam.truth)),
        agreement=float(np.mean(_answers(model, exam.enlarged) == exam.enlarged_answers)),
    )


def _accurate(one: _Tried, exam: _Exam) -> bool:
    # A hair more, as differences of shares are not exact in binary.
    return exam.reference - one.right <= MAX_LOSS + 1e-9


def _good(one: _Tried, exam: _Exam) -> bool:
    """Whether no more layers need to stay in float."""
    return _accurate(one, exam) and one.agreement >= AGREEMENT


def _worth(one: _Tried, exam: _Exam) -> tuple[float, ...]:
    """What makes one graph better than another, the most important first: among accurate ones it is the agreement."""
    if _good(one, exam):
        return 2, one.right, one.agreement
    return (1, one.agreement, one.right) if _accurate(one, exam) else (0, one.right, one.agreement)
