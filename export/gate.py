"""Every variant in every runtime that loads here, judged against the reference; what fails is not kept."""

from collections.abc import Iterator, Mapping

from export import parity, runtimes
from export.bundle import Outputs
from export.limits import LIMITS
from export.parity import Questions
from export.verdicts import ParityError, ParityReport, Verdict

# On the pictures that a checkpoint was measured on, PyTorch in fp32 finds its accuracy again within the noise of bf16;
# two of ten classes in each other's place cost 15 points and more.
ACCURACY_SLACK = 0.03


def judge(
    questions: Questions,
    graphs: Mapping[str, bytes],
    *,
    reference: str = "PyTorch",
    left_out: Mapping[str, str] | None = None,
    evaluated: bool = True,
    shown: bool = False,
) -> ParityReport:
    """Judge `graphs`, ONNX files by variant; the report has those `left_out` before too, with the reasons.

    Raises ParityError, with the report, where fp32 fails in any runtime. `evaluated` asks onnx's evaluator too.
    """
    verdicts = [verdict for name, model in graphs.items() for verdict in _verdicts(questions, name, model, shown)]
    if evaluated:
        verdicts.append(_evaluated(questions, graphs["fp32"]))
    failed = dict(left_out or {})
    for verdict in verdicts:
        if not verdict.passed:
            failed.setdefault(verdict.variant, f"on {verdict.provider} {verdict.fault}")
    report = ParityReport(
        questions.name, reference, questions.accuracy, questions.calibration_error, tuple(verdicts), failed
    )
    if not report.passed:
        raise ParityError(report)
    return report


def require_accuracy(questions: Questions, promised: float) -> None:
    """Raise ValueError where the reference is right far less often than was measured after training, in 0..1."""
    found = questions.accuracy
    if found is not None and found < promised - ACCURACY_SLACK:
        raise ValueError(
            f"PyTorch is right on {found:.2%} of {questions.name}, and the checkpoint was measured at {promised:.2%}: "
            "the classes are in another order, or these are not the pictures it was made for"
        )


def _verdicts(questions: Questions, variant: str, model: bytes, shown: bool) -> Iterator[Verdict]:
    try:
        candidate = runtimes.onnx_runner(model)
    except Exception as error:  # ONNX Runtime raises types of its own, none of them documented
        yield Verdict(variant, "cpu", (), None, None, f"it cannot be loaded: {str(error)[:300]}")
        return
    yield parity.examine(questions, candidate, variant, "cpu", shown=shown)
    for provider, other in runtimes.other_runners(model):
        yield parity.examine(questions, other, variant, provider, shown=shown)


def _evaluated(questions: Questions, model: bytes) -> Verdict:
    """One picture of each kind, as plain NumPy takes seconds for one: given, the checkerboard, noise."""
    few = [0, questions.given + 2, questions.given + 3]
    limits = LIMITS["fp32", "evaluator"]
    found = runtimes.evaluator(model)(questions.images[few])
    row = parity.compare(Outputs(*(each[few] for each in questions.expected)), found, len(few), limits, len(few))
    return Verdict("fp32", "evaluator", (row,), None, None, row.fault(limits))
