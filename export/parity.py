"""The gate between PyTorch and what runs in production: a graph that does not give the same answers is never written.

PyTorch in fp32 on the CPU is the reference. Every picture passes at one batch size, and some of every kind pass at each
of the others, since a graph can be right for the batch it was traced with and wrong for another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from export.bundle import Outputs, Runner
from export.limits import LIMITS, Limits
from export.verdicts import BatchParity, Verdict
from training import calibration
from training.pixels import Pixels
from training.reports.progress import bar_style

BATCH_SIZES = (1, 2, 3, 17, 64, 128, 256)
WHOLE = 64  # the batch size at which all pictures pass: the service's own
PROBE = 256  # given pictures that pass at every other size too, so that the largest batch is full
NOISE = 64


@dataclass(frozen=True)
class Pictures:
    """What the gate is given: uint8 [N, H, W, C], labels int64 [N] where they are known, and a name for reports."""

    images: Pixels
    labels: NDArray[np.int64] | None
    name: str


@dataclass(frozen=True)
class Questions:
    """What every candidate is asked, and what the reference answers: the given pictures, then edges, then noise."""

    images: Pixels
    given: int  # how many of them were given; answers and accuracy of inexact variants count on these alone
    labels: NDArray[np.int64] | None
    name: str
    expected: Outputs

    @property
    def accuracy(self) -> float | None:
        """Of the reference, in 0..1; None where no labels are known."""
        return accuracy(self.expected, self.labels)

    @property
    def calibration_error(self) -> float | None:
        """Of the reference, in 0..1; None where no labels are known."""
        return calibration_error(self.expected, self.labels)

    def probe(self) -> NDArray[np.int64]:
        """Which pictures pass at every batch size: some of those given, evenly, and all others."""
        some = np.linspace(0, self.given - 1, min(PROBE, self.given)).round().astype(np.int64)
        return np.concatenate([some, np.arange(self.given, len(self.images))])


def ask(reference: Runner, pictures: Pictures, *, shown: bool = False) -> Questions:
    """Have the reference answer the pictures, and edges and noise beside them; `shown` with a progress bar."""
    images, labels = pictures.images, pictures.labels
    side, channels = images.shape[1], images.shape[3]
    noise = seeded_noise(max(NOISE, PROBE - len(images)), side, channels)
    asked = np.concatenate([images, edges(side, channels), noise])
    with progress("the reference", len(asked), shown) as bar:
        expected = in_batches(reference, asked, WHOLE, bar.update)
    return Questions(asked, len(images), labels, pictures.name, expected)


def examine(questions: Questions, candidate: Runner, variant: str, provider: str, *, shown: bool = False) -> Verdict:
    """Compare a variant in one runtime with the reference, at every batch size. What it raises is a fault."""
    limits = LIMITS[variant, provider]
    probe = questions.probe()
    total = len(questions.images) + len(probe) * (len(BATCH_SIZES) - 1)
    try:
        with progress(f"{variant} on {provider}", total, shown) as bar:
            return _examined(questions, candidate, variant, provider, limits, bar)
    except Exception as error:  # ONNX Runtime raises types of its own, none of them documented
        reason = str(error).strip().partition("\n")[0][:300]
        return Verdict(variant, provider, (), None, None, f"it cannot run: {reason or type(error).__name__}")


def _examined(
    questions: Questions, candidate: Runner, variant: str, provider: str, limits: Limits, bar: "tqdm[None]"
) -> Verdict:
    expected, probe = questions.expected, questions.probe()
    whole = in_batches(candidate, questions.images, WHOLE, bar.update)
    # An inexact variant is judged once by the reference; at other sizes its answers must be those it gave before.
    before = _rows(expected if limits.exact else whole, probe)
    rows = [compare(expected, whole, WHOLE, limits, questions.given)]
    for size in BATCH_SIZES:
        if size != WHOLE:
            found = in_batches(candidate, questions.images[probe], size, bar.update)
            rows.append(compare(before, found, size, limits, min(PROBE, questions.given)))
    share = accuracy(whole, questions.labels)
    faults = [row.fault(limits) for row in rows] + [_loss(questions.accuracy, share, limits)]
    differences = np.abs(expected.logits[: questions.given] - whole.logits[: questions.given])
    percentiles = tuple(np.percentile(differences, range(101)).astype(float).tolist())
    error = calibration_error(whole, questions.labels)
    return Verdict(variant, provider, tuple(rows), share, error, next(filter(None, faults), ""), percentiles)


def compare(expected: Outputs, found: Outputs, batch_size: int, limits: Limits, judged: int) -> BatchParity:
    """Compare the outputs for the same pictures; the answer is the class of the largest probability.

    The answers to the first `judged` pictures count, and where the limits are exact those to all of them.
    """
    if expected.logits.shape != found.logits.shape:
        raise ValueError(f"the graph gives logits of shape {found.logits.shape}, the network {expected.logits.shape}")
    judged = len(expected.logits) if limits.exact else judged
    top = np.sort(expected.logits[:judged], axis=1)
    tie = top[:, -1] - top[:, -2] <= (2 * limits.logits if limits.exact else 0)
    differs = (expected.logits.argmax(axis=1) != found.probabilities.argmax(axis=1))[:judged]
    return BatchParity(
        batch_size=batch_size,
        pictures=len(expected.logits),
        max_logit_difference=float(np.abs(expected.logits - found.logits).max()),
        max_probability_difference=float(np.abs(expected.probabilities - found.probabilities).max()),
        near_ties=int(tie.sum()),
        other_answers=int((differs & ~tie).sum()),
        near_ties_swapped=int((differs & tie).sum()),
        judged=judged,
    )


def in_batches(run: Runner, images: Pixels, size: int, done: Callable[[int], object] = lambda _: None) -> Outputs:
    """The outputs for pictures that are asked about in batches; `done` is told how many pictures each had."""
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        parts.append(run(batch))
        done(len(batch))
    return Outputs(*(np.concatenate(output) for output in zip(*parts, strict=True)))


def accuracy(outputs: Outputs, labels: NDArray[np.int64] | None) -> float | None:
    """Share of right answers, in 0..1, to the first pictures, whose labels these are; None without labels."""
    if labels is None:
        return None
    return float(np.mean(outputs.probabilities[: len(labels)].argmax(axis=1) == labels))


def calibration_error(outputs: Outputs, labels: NDArray[np.int64] | None) -> float | None:
    """Expected calibration error of the first pictures' probabilities, in 0..1, as accuracy has it; None likewise."""
    if labels is None:
        return None
    bins = calibration.reliability(torch.from_numpy(outputs.probabilities[: len(labels)]), torch.from_numpy(labels))
    return calibration.calibration_error(bins)


def _loss(reference: float | None, found: float | None, limits: Limits) -> str:
    if reference is None or found is None or reference - found <= limits.accuracy_loss + 1e-9:
        return ""
    return f"accuracy falls by {100 * (reference - found):.2f} points, {100 * limits.accuracy_loss:.2f} are allowed"


def _rows(outputs: Outputs, which: NDArray[np.int64]) -> Outputs:
    return Outputs(*(values[which] for values in outputs))


def progress(name: str, total: int, shown: bool) -> "tqdm[None]":
    """A bar on the standard error where it is `shown`; to be closed."""
    return tqdm(total=total, desc=name, disable=not shown, **bar_style())


def edges(size: int, channels: int) -> Pixels:
    """All black, all white, and a checkerboard of single pixels: uint8 [3, size, size, channels]."""
    rows, columns = np.indices((size, size))
    board = np.where((rows + columns) % 2, 255, 0)
    each = np.stack([np.zeros_like(board), np.full_like(board, 255), board]).astype(np.uint8)
    return np.repeat(each[..., np.newaxis], channels, axis=3)


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
