"""The gate between PyTorch and ONNX Runtime: a graph that does not give the same answers is never written.

PyTorch in fp32 on the CPU is the reference. Every picture passes ONNX Runtime at every batch size, since a graph can
be right for the batch it was traced with and wrong for another.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.table import Table

from export.bundle import Outputs
from training.classifier import Classifier
from training.pixels import Pixels

Runner = Callable[[Pixels], Outputs]

BATCH_SIZES = (1, 2, 17, 128)
MINIMUM_PICTURES = 256
# Both sides compute in fp32 and differ only in the order of sums: on our networks by about 1e-5, so 1e-4 leaves room
# for other processors and is far below any difference that changes an answer.
LOGIT_LIMIT = 1e-4
# What the service answers with. Softmax turns a difference of logits into at most 1/(2 T) of it: half at temperature 1,
# five times as much at the coldest one, 0.1, which is fitted only where logits, and so their differences, are small.
PROBABILITY_LIMIT = 1e-4


class ParityError(Exception):
    """The exported graph gives other answers than the network; carries the report."""

    def __init__(self, report: "ParityReport") -> None:
        super().__init__("the ONNX graph does not give the network's answers")
        self.report = report


@dataclass(frozen=True)
class BatchParity:
    """How far ONNX Runtime is from PyTorch at one batch size."""

    batch_size: int
    pictures: int
    max_logit_difference: float
    max_probability_difference: float
    near_ties: int  # pictures whose two largest logits lie within twice the limit: their order may differ
    other_answers: int  # pictures with another answer although they are no near tie
    near_ties_swapped: int

    @property
    def passed(self) -> bool:
        """Whether this batch size meets the limits; a difference that is not a number does not."""
        close = self.max_logit_difference <= LOGIT_LIMIT and self.max_probability_difference <= PROBABILITY_LIMIT
        return close and self.other_answers == 0


@dataclass(frozen=True)
class ParityReport:
    """The gate's findings, one row a batch size, and the accuracy of both sides where the labels are known."""

    pictures: str  # which pictures were compared
    batches: tuple[BatchParity, ...]
    accuracy: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the bundle may be written."""
        return all(batch.passed for batch in self.batches)

    def document(self) -> dict[str, Any]:
        """The report as plain JSON."""
        return {
            "pictures": self.pictures,
            "logit_limit": LOGIT_LIMIT,
            "probability_limit": PROBABILITY_LIMIT,
            "batches": [asdict(batch) for batch in self.batches],
            "accuracy": self.accuracy,
        }

    def table(self) -> Table:
        """The report for people."""
        table = Table(
            title=f"PyTorch and ONNX Runtime on {self.pictures}, limit {LOGIT_LIMIT:.0e}", title_justify="left"
        )
        for heading in ("batch", "logits differ by", "probabilities by", "other answers", "near ties (swapped)", ""):
            table.add_column(heading, justify="right")
        for batch in self.batches:
            table.add_row(
                str(batch.batch_size),
                f"{batch.max_logit_difference:.1e}",
                f"{batch.max_probability_difference:.1e}",
                str(batch.other_answers),
                f"{batch.near_ties} ({batch.near_ties_swapped})",
                "pass" if batch.passed else "FAIL",
            )
        return table


def gate(
    reference: Runner, candidate: Runner, images: Pixels, labels: NDArray[np.int64] | None, pictures: str
) -> ParityReport:
    """Compare `candidate` with `reference` on uint8 images [N, H, W, C]; `labels` int64 [N] add accuracies.

    Raises ParityError where a limit is broken and ValueError for fewer than 256 pictures.
    """
    if len(images) < MINIMUM_PICTURES:
        raise ValueError(f"the gate needs {MINIMUM_PICTURES} pictures or more, not {len(images)}")
    expected = _in_batches(reference, images, BATCH_SIZES[-1])
    found = {size: _in_batches(candidate, images, size) for size in BATCH_SIZES}
    accuracy = {}
    if labels is not None:
        accuracy["pytorch"] = float(np.mean(expected.logits.argmax(axis=1) == labels))
        accuracy["fp32"] = float(np.mean(found[BATCH_SIZES[-1]].probabilities.argmax(axis=1) == labels))
    batches = tuple(compare(expected, outputs, size) for size, outputs in found.items())
    report = ParityReport(pictures, batches, accuracy)
    if not report.passed:
        raise ParityError(report)
    return report


def compare(expected: Outputs, found: Outputs, batch_size: int) -> BatchParity:
    """Compare the outputs for the same pictures; the answer is the class of the largest probability."""
    if expected.logits.shape != found.logits.shape:
        raise ValueError(f"the graph gives logits of shape {found.logits.shape}, the network {expected.logits.shape}")
    top = np.sort(expected.logits, axis=1)
    tie = top[:, -1] - top[:, -2] <= 2 * LOGIT_LIMIT
    differs = expected.logits.argmax(axis=1) != found.probabilities.argmax(axis=1)
    return BatchParity(
        batch_size=batch_size,
        pictures=len(expected.logits),
        max_logit_difference=float(np.abs(expected.logits - found.logits).max()),
        max_probability_difference=float(np.abs(expected.probabilities - found.probabilities).max()),
        near_ties=int(tie.sum()),
        other_answers=int((differs & ~tie).sum()),
        near_ties_swapped=int((differs & tie).sum()),
    )


def torch_runner(classifier: Classifier) -> Runner:
    """PyTorch in fp32 on the CPU."""

    def run(images: Pixels) -> Outputs:
        with torch.inference_mode():
            return Outputs(*(output.numpy() for output in classifier(torch.from_numpy(images))))

    return run


def onnx_runner(model: bytes) -> Runner:
    """ONNX Runtime's CPU provider."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def run(images: Pixels) -> Outputs:
        return Outputs(*session.run(list(Outputs._fields), {"images": images}))

    return run


def _in_batches(run: Runner, images: Pixels, size: int) -> Outputs:
    parts = [run(images[start : start + size]) for start in range(0, len(images), size)]
    return Outputs(*(np.concatenate(output) for output in zip(*parts, strict=True)))


def seeded_noise(count: int, size: int, channels: int, seed: int = 0) -> Pixels:
    """Pictures of pure noise: uint8 [count, size, size, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def random_crops(pictures: Sequence[Pixels], count: int, size: int, seed: int = 0) -> Pixels:
    """`count` square crops of `size` from larger pictures [H, W, C], one picture after the other."""
    generator = np.random.default_rng(seed)
    crops = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        row, column = (int(generator.integers(0, side - size + 1)) for side in picture.shape[:2])
        crops.append(picture[row : row + size, column : column + size])
    return np.stack(crops)
