"""Calibration and the unknown for people: sections of the model card.

The figures are those of `Metadata.measures`; what was not measured has no section.
"""

from collections.abc import Sequence

from training import calibration, energy
from training.checkpoint import Metadata

Rows = list[list[str]]


def sections(metadata: Metadata) -> list[str]:
    """The lines of the card's sections, each ended by an empty one."""
    parts = (_calibration, _unknown)
    return [line for part in parts for line in part(metadata)]


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


def _unknown(metadata: Metadata) -> list[str]:
    if metadata.energy_threshold is None:
        return []
    return [
        "## The unknown",
        "",
        "A picture is flagged as unknown where its energy, -log(sum(exp(logits))), is above "
        f"{metadata.energy_threshold:.4f}. At least {energy.SHARE_KEPT:.0%} of the validation pictures are not.",
        "",
    ]


def _markdown(headings: Sequence[str], rows: Rows) -> list[str]:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
