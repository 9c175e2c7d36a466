"""Whether probabilities can be taken at their word: reliability in bins, and the temperature that mends it.

Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 15  # of equal width, as in Guo et al.
# Where every validation picture is right, the best temperature is 0; where the answers are no better than chance, it
# is infinite. Neither says anything of other pictures.
COLDEST, HOTTEST = 0.1, 10.0
HALVINGS = 50  # of that range: far below the four decimals that are kept


@dataclass(frozen=True)
class Bin:
    """The pictures whose confidence lies in one bin: how many, their mean confidence, the share answered rightly.

    Both shares are in 0..1, and 0 where there is no picture.
    """

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The reliability of the same answers before their logits are divided by the temperature, and after."""

    temperature: float
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]

    @property
    def error_before(self) -> float:
        """Calibration error of the probabilities as the network gives them, in 0..1."""
        return calibration_error(self.before)

    @property
    def error_after(self) -> float:
        """Calibration error of the probabilities at the temperature, in 0..1."""
        return calibration_error(self.after)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON, for a checkpoint."""
        return {
            "temperature": self.temperature,
            "error_before": self.error_before,
            "error_after": self.error_after,
            "before": [asdict(entry) for entry in self.before],
            "after": [asdict(entry) for entry in self.after],
        }


def from_json(figures: Mapping[str, Any]) -> Calibration:
    """What `as_json` gave."""
    before, after = (tuple(Bin(**entry) for entry in figures[part]) for part in ("before", "after"))
    return Calibration(figures["temperature"], before, after)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least negative log-likelihood on logits [N, K] with labels int64 [N], to four decimals.

    It lies in 0.1..10. The likelihood is convex in 1/T; its slope there, the mean of the expected logit less the
    label's, is brought to zero by halving the range, in float64.
    """
    scores = logits.double()
    of_labels = float(scores.gather(1, labels[:, None]).mean())

    def slope(inverse: float) -> float:
        expected = (torch.softmax(scores * inverse, dim=1) * scores).sum(dim=1)
        return float(expected.mean()) - of_labels

    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return round(2 / (low + high), 4)


def measure(logits: Tensor, labels: Tensor, temperature: float) -> Calibration:
    """Reliability of logits [N, K] with labels int64 [N] at temperature 1 and at `temperature`."""
    before, after = (reliability(torch.softmax(logits.double() / t, dim=1), labels) for t in (1.0, temperature))
    return Calibration(temperature, before, after)


def reliability(probabilities: Tensor, labels: Tensor) -> tuple[Bin, ...]:
    """Sort probabilities [N, K] with labels int64 [N] into bins by their confidence, the largest probability."""
    confidence, answer = probabilities.double().max(dim=1)
    right = (answer == labels).double()
    # Bins are open on the left: a confidence of exactly 1 belongs to the last one.
    number = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    counts = number.bincount(minlength=BINS)
    sums = (number.bincount(values, minlength=BINS) for values in (confidence, right))
    sure, share = ((total / counts.clamp(min=1)).tolist() for total in sums)
    return tuple(Bin(*entry) for entry in zip(counts.tolist(), sure, share, strict=True))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error in 0..1: the gap between confidence and accuracy, bin by bin, in the mean picture."""
    gaps = sum(entry.count * abs(entry.accuracy - entry.confidence) for entry in bins)
    return gaps / sum(entry.count for entry in bins)


def errors(found: Calibration) -> str:
    """Both errors in a few words."""
    return f"{found.error_before:.2%}; {found.error_after:.2%} at temperature {found.temperature:.2f}"
