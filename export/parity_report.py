"""The gate's report: a table for the terminal, parity.json for programs, parity.md for people."""

import json
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.table import Table

from export import drawing
from export.limits import LIMITS
from export.verdicts import ParityReport, Verdict

JSON, MARKDOWN = "parity.json", "parity.md"


def files(report: ParityReport) -> dict[str, bytes]:
    """What goes into the bundle, by its name."""
    described = json.dumps(document(report), indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
    return {JSON: described, MARKDOWN: markdown(report).encode(), drawing.PNG: drawing.distribution(report)}


def table(report: ParityReport) -> Table:
    """One row for each variant in each runtime: the worst of its batch sizes."""
    found = Table(title=f"{report.reference} and ONNX Runtime on {report.pictures}", title_justify="left")
    for heading in ("variant", "runs on", "logits differ by", "same answers", "accuracy", "ECE", ""):
        found.add_column(heading, justify="left" if heading in ("variant", "runs on") else "right")
    if report.accuracy is not None:
        found.add_row(report.reference, "cpu", "", "", _share(report.accuracy), _share(report.calibration_error), "")
    for verdict in report.verdicts:
        found.add_row(
            verdict.variant,
            verdict.provider,
            f"{worst(verdict):.1e}",
            f"{verdict.agreement:.2%}",
            _share(verdict.accuracy),
            _share(verdict.calibration_error),
            "pass" if verdict.passed else "FAIL",
        )
    return found


def summary(report: ParityReport) -> str:
    """A section of the model card."""
    rows = "".join(
        f"| {verdict} | {worst(verdict):.1e} | {verdict.agreement:.2%} | "
        f"{_share(verdict.accuracy) or '-'} | {_share(verdict.calibration_error) or '-'} |\n"
        for verdict in report.verdicts
        if report.keeps(verdict.variant)
    )
    return (
        f"\n## Parity of {report.reference} and ONNX Runtime\n\nOn {report.pictures}; [all of it]({MARKDOWN}).\n\n"
        f"| variant | logits differ by | same answers | accuracy | calibration error |\n|---|---|---|---|---|\n{rows}"
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def worst(verdict: Verdict) -> float:
    """The largest difference of a logit from the reference; NaN where it could not run."""
    rows = verdict.rows if LIMITS[verdict.variant, verdict.provider].exact else verdict.rows[:1]
    return max((row.max_logit_difference for row in rows), default=float("nan"))


def document(report: ParityReport) -> dict[str, Any]:
    """The report as plain JSON; of what is not limited the limit is null, and so is a difference that is no number."""
    return {
        "pictures": report.pictures,
        "reference": report.reference,
        "accuracy": report.accuracy,
        "calibration_error": report.calibration_error,
        "left_out": dict(report.left_out),
        "verdicts": [_of(verdict) for verdict in report.verdicts],
    }


def _of(verdict: Verdict) -> dict[str, Any]:
    return {
        "variant": verdict.variant,
        "provider": verdict.provider,
        "passed": verdict.passed,
        "fault": verdict.fault,
        "limits": _finite(asdict(LIMITS[verdict.variant, verdict.provider])),
        "batches": [_finite(asdict(row)) for row in verdict.rows],
        "accuracy": verdict.accuracy,
        **_finite({"calibration_error": verdict.calibration_error}),
        "agreement": verdict.agreement,
        "logit_difference_percentiles": [value if isfinite(value) else None for value in verdict.percentiles],
    }


def _finite(entries: dict[str, Any]) -> dict[str, Any]:
    numbers = (name for name, value in entries.items() if isinstance(value, float) and not isfinite(value))
    return {**entries, **dict.fromkeys(numbers)}


def markdown(report: ParityReport) -> str:
    """The report for people: what was compared, every batch size of every verdict, the limits and their reasons."""
    lines = [
        f"# {report.reference} and ONNX Runtime",
        "",
        f"Compared on {report.pictures}, on edge pictures (black, white, a checkerboard of pixels) and on seeded "
        "noise. All of them pass in batches of 64, and some of every kind in each other size.",
        "",
        *_accuracies(report),
        *(f"- {variant} was left out: {reason}." for variant, reason in report.left_out.items()),
    ]
    for verdict in report.verdicts:
        lines += ["", f"## {verdict}: {'passed' if verdict.passed else 'failed'}", "", *_section(verdict)]
    return "\n".join([*lines, "", f"![How far logits are from the reference's]({drawing.PNG})"]) + "\n"


def _accuracies(report: ParityReport) -> list[str]:
    if report.accuracy is None:
        return ["- Accuracy was not measured, as there were no labelled pictures."]
    told = [verdict for verdict in report.verdicts if verdict.accuracy is not None]
    rights = [f"{verdict} {_share(verdict.accuracy)}" for verdict in told]
    errors = [f"{verdict} {_share(verdict.calibration_error)}" for verdict in told]
    return [
        f"- Accuracy: {report.reference} {_share(report.accuracy)}, {', '.join(rights)}.",
        f"- Calibration error: {report.reference} {_share(report.calibration_error)}, {', '.join(errors)}.",
    ]


def _section(verdict: Verdict) -> list[str]:
    limits = LIMITS[verdict.variant, verdict.provider]
    promised = [f"logits within {limits.logits:.0e}", f"probabilities within {limits.probabilities:.0e}"]
    if not limits.exact:
        promised = [f"accuracy loss at most {100 * limits.accuracy_loss:.2f} points"]
    lines = [f"Limits: {', '.join(promised)}, {limits.agreement:.1%} of answers the same. Why: {limits.why}."]
    if verdict.fault:
        lines += ["", f"Fault: {verdict.fault}."]
    if not verdict.rows:
        return lines
    head = "| batch | pictures | logits differ by | probabilities by | other answers | near ties (swapped) |"
    lines += ["", head, "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.batch_size} | {row.pictures:,} | {row.max_logit_difference:.1e} | "
        f"{row.max_probability_difference:.1e} | {row.other_answers} of {row.judged:,} | "
        f"{row.near_ties} ({row.near_ties_swapped}) |"
        for row in verdict.rows
    ]
    if not limits.exact:
        lines += [
            "",
            "The first row compares with the reference, the others with the first: another batch size must "
            "not change an answer.",
        ]
    return lines
