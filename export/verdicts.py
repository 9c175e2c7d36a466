"""What the gate found: of one batch size, of one variant in one runtime, and of all of them."""

from dataclasses import dataclass, field
from math import sqrt

from export.limits import Limits

# Fewer pictures cannot tell a share of a thousandth: one other answer of 256 is four of them.
ENOUGH = 1000


@dataclass(frozen=True)
class BatchParity:
    """How far a candidate is from the reference at one batch size."""

    batch_size: int
    pictures: int
    max_logit_difference: float
    max_probability_difference: float
    near_ties: int  # pictures whose two largest logits lie within twice the limit: their order may differ
    other_answers: int  # pictures with another answer although they are no near tie
    near_ties_swapped: int
    judged: int  # pictures whose answers count

    def fault(self, limits: Limits) -> str:
        """Why it does not meet the limits; empty where it does. A difference that is not a number never does."""
        if not self.max_logit_difference <= limits.logits:
            return f"logits differ by {self.max_logit_difference:.1e} at batch size {self.batch_size}"
        if not self.max_probability_difference <= limits.probabilities:
            return f"probabilities differ by {self.max_probability_difference:.1e} at batch size {self.batch_size}"
        if self.other_answers > self._allowed(1 - limits.agreement):
            return f"{self.other_answers} of {self.judged:,} answers are others at batch size {self.batch_size}"
        return ""

    def _allowed(self, share: float) -> float:
        """How many other answers a share of them allows: of few pictures, three standard errors more than that."""
        error = sqrt(self.judged * share * (1 - share)) if self.judged < ENOUGH else 0.0
        # A hair more, as 0.999 is not exact in binary.
        return share * self.judged + 3 * error + 1e-6


@dataclass(frozen=True)
class Verdict:
    """The findings on one variant in one runtime: a row a batch size, and how right it is where labels are known."""

    variant: str
    provider: str
    rows: tuple[BatchParity, ...]
    accuracy: float | None
    calibration_error: float | None  # of its probabilities, over 15 bins, in 0..1
    fault: str  # the first limit that is broken, or why it cannot run; empty where it passed
    # |logit difference| at 0, 1, ... 100 % of all logits of the given pictures: the distribution, for the report.
    percentiles: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.variant} on {self.provider}"

    @property
    def passed(self) -> bool:
        """Whether every limit is met."""
        return not self.fault

    @property
    def agreement(self) -> float:
        """Share of answers like the reference's, in 0..1; 0 where it could not run."""
        return 1 - self.rows[0].other_answers / self.rows[0].judged if self.rows else 0.0


@dataclass(frozen=True)
class ParityReport:
    """The gate's findings on every variant in every runtime that loads here."""

    pictures: str  # which were compared
    reference: str
    accuracy: float | None  # of the reference
    calibration_error: float | None  # of the reference
    verdicts: tuple[Verdict, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # variants that were not made, or not kept, and why

    @property
    def passed(self) -> bool:
        """Whether the bundle may be written."""
        return self.keeps("fp32")

    def keeps(self, variant: str) -> bool:
        """Whether a variant passed wherever it ran, and so may be in the bundle."""
        return all(verdict.passed for verdict in self.verdicts if verdict.variant == variant)

    def of(self, variant: str, provider: str = "cpu") -> Verdict:
        """The verdict on a variant. Raises KeyError where there is none."""
        found = {(verdict.variant, verdict.provider): verdict for verdict in self.verdicts}
        return found[variant, provider]


class ParityError(Exception):
    """The exported graph gives other answers than the network; carries the report."""

    def __init__(self, report: ParityReport) -> None:
        reasons = "; ".join(f"{verdict}: {verdict.fault}" for verdict in report.verdicts if verdict.fault)
        super().__init__(f"the ONNX graph does not give the network's answers ({reasons})")
        self.report = report
