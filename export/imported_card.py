"""The model card of an imported classifier: what is known of it, and what is not."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.limits import EXACT_ON_CPU
from export.verdicts import ParityReport, Verdict

MOST_CLASSES = 20


def imported_card(document: Mapping[str, Any], report: ParityReport, note: str = "") -> str:
    """Markdown from bundle.json's own entries and the gate's report; `note` follows the accuracy."""
    origin, contract = document["provenance"]["imported"], document["input"]
    colours = "RGB" if contract["channels"] == 3 else "grey"
    side, classes = contract["size"], document["classes"]
    lines = [
        f"# {document['name']}",
        "",
        f"An image classifier that was exported elsewhere and imported as ONNX: {side}x{side} {colours} pictures, "
        f"{len(classes)} classes: {_shortened(classes)}.",
        "",
        "## Accuracy",
        "",
        _accuracy(document),
        "",
        *([note, ""] if note else []),
        "## Where it comes from",
        "",
        f"- File `{origin['file']}`, SHA-256 {origin['sha256']}, exported by {document['provenance']['exporter']}, "
        f"opset {document['provenance']['opset']}.",
        f"- It gives {_gives(origin)}.",
        f"- Pictures are scaled to 0..1 and normalised with mean {origin['mean']} and standard deviation "
        f"{origin['std']}.",
        *_batch(origin),
        "- There are no PyTorch weights: only ONNX Runtime can run it.",
        "",
        "## Limits",
        "",
        f"It knows these {len(classes)} classes and no others: every picture gets one of them. How it was trained, and "
        "on what, is not known here; nor are its probabilities calibrated. A picture is scaled to "
        f"{side}x{side} pixels, so the object should fill most of it.",
        "",
        "## Parity of the original and this graph",
        "",
        *_parity(report.of("fp32"), report.pictures, document["parity"]["evaluator"]),
        "",
    ]
    return "\n".join(lines)


def _accuracy(document: Mapping[str, Any]) -> str:
    data, share = document["data"], document["accuracy"].get("test")
    if data is None or share is None:
        return "Not known: it was imported without labelled pictures."
    return f"**{share:.2%}** on {data['test']:,} test pictures of `{data['name']}`, measured when it was imported."


def _gives(origin: Mapping[str, Any]) -> str:
    if origin["gives"] == "logits":
        return "logits; the softmax was added"
    return "probabilities, of which the logarithms serve as logits"


def _batch(origin: Mapping[str, Any]) -> list[str]:
    batch = origin["fixed_batch"]
    return [] if batch is None else [f"- It was exported for batches of {batch} alone, and freed of that."]


def _parity(verdict: Verdict, pictures: str, evaluator: Mapping[str, Any]) -> list[str]:
    sizes = ", ".join(str(size) for size in sorted(row.batch_size for row in verdict.rows))
    worst = max(row.max_logit_difference for row in verdict.rows)
    lines = [
        f"On {pictures}, at batch sizes {sizes}: logits differ by {worst:.1e} at most from what ONNX Runtime "
        f"gives for the original file behind NumPy; the limit is {EXACT_ON_CPU.logits:.0e} (`parity.md`)."
    ]
    if evaluator["pictures"]:
        found = f"{evaluator['max_logit_difference']:.1e} on {evaluator['pictures']} pictures"
        return [
            *lines,
            "",
            f"From onnx's reference evaluator: by {found}; the limit is {evaluator['logit_limit']:.0e}.",
        ]
    return [*lines, "", f"onnx's reference evaluator could not run it ({evaluator['reason']})."]


def _shortened(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    return ", ".join(classes[:MOST_CLASSES]) + more
