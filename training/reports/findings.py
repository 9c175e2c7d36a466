"""Calibration, robustness and the unknown for people: sections of the model card, and tables for the terminal.

The figures are those of `Metadata.measures`; what was not measured has no section and no table.
"""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from training import calibration, energy
from training.checkpoint import Metadata

Rows = list[list[str]]

ROBUSTNESS = ("change", "strengths", "mild", "medium", "strong")
UNKNOWN = ("pictures", "number", "flagged")


def sections(metadata: Metadata) -> list[str]:
    """The lines of the card's sections, each ended by an empty one."""
    parts = (_calibration, _robustness, _unknown)
    return [line for part in parts for line in part(metadata)]


def tables(metadata: Metadata) -> list[Table]:
    """Robustness and the unknown as tables."""
    found = metadata.measures
    made = []
    if "robustness" in found:
        title = f"changed pictures of {found['robustness']['data']}"
        made.append(_table(title, ROBUSTNESS, _robustness_rows(found["robustness"])))
    if "unknown" in found:
        title = f"flagged as unknown: energy above {metadata.energy_threshold:.3f}"
        made.append(_table(title, UNKNOWN, _unknown_rows(found["unknown"])))
    return made


def _robustness_rows(figures: dict[str, Any]) -> Rows:
    rows = [["unchanged", "", f"{figures['accuracy']:.2%}", "", ""]]
    for change in figures["changes"]:
        strengths = ", ".join(f"{strength:g}" for strength in change["strengths"])
        shares = (f"{share:.2%}" for share in change["accuracy"])
        rows.append([change["name"], strengths, *shares])
    return rows


def _unknown_rows(figures: Sequence[dict[str, Any]]) -> Rows:
    return [
        [entry["name"], f"{entry['pictures']:,}", f"{entry['flagged'] / entry['pictures']:.2%}"] for entry in figures
    ]


def _calibration(metadata: Metadata) -> list[str]:
    if "calibration" not in metadata.measures:
        return []
    found = calibration.from_json(metadata.measures["calibration"])
    rows = [
        ["as the network gives them", f"{found.error_before:.2%}"],
        [f"at temperature {found.temperature:.4g}", f"**{found.error_after:.2%}**"],
    ]
    return [
        "## Calibration",
        "",
        f"The temperature divides the logits before the softmax. It was fitted on the {metadata.data['validation']:,} "
        "validation pictures; these are the errors on the test pictures: how far confidence and accuracy lie apart, "
        f"the mean over {calibration.BINS} bins.",
        "",
        *_markdown(("probabilities", "calibration error"), rows),
        "![Share of right answers by confidence](reliability.png)",
        "",
    ]


def _robustness(metadata: Metadata) -> list[str]:
    if "robustness" not in metadata.measures:
        return []
    found = metadata.measures["robustness"]
    return [
        "## Robustness",
        "",
        f"Accuracy on the {found['pictures']:,} test pictures of `{found['data']}`, all of them changed in one way.",
        "",
        *_markdown(ROBUSTNESS, _robustness_rows(found)),
    ]


def _unknown(metadata: Metadata) -> list[str]:
    if metadata.energy_threshold is None:
        return []
    measured = metadata.measures.get("unknown", [])
    table = _markdown(UNKNOWN, _unknown_rows(measured)) if measured else []
    return [
        "## The unknown",
        "",
        "A picture is flagged as unknown where its energy, -log(sum(exp(logits))), is above "
        f"{metadata.energy_threshold:.4f}. At least {energy.SHARE_KEPT:.0%} of the validation pictures are not.",
        "",
        *table,
    ]


def _markdown(headings: Sequence[str], rows: Rows) -> list[str]:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _table(title: str, headings: Sequence[str], rows: Rows) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    return table
