"""From a checkpoint to a bundle: graph, gate, self-check, card; nothing is written unless the gate is passed."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from export import bundle, gate, manifest, onnxfile, parity, parity_report, pictures, runtimes, selfcheck, variants
from export.bundle import Bundle
from export.parity import Pictures
from export.pictures import Labelled
from export.verdicts import ParityReport
from training import calibration, checkpoint
from training.checkpoint import Checkpoint, Metadata
from training.reports.card import model_card
from training.reports.pictures import confusion, curves, reliability


def export(
    path: Path,
    out: Path,
    found: Labelled | None = None,
    *,
    name: str | None = None,
    note: str = "",
    shown: bool = False,
) -> tuple[Bundle, ParityReport]:
    """Export the checkpoint at `path` into a bundle at `out`, and return it with the gate's report.

    Without pictures the gate takes crops of the golden photographs, and int8 is left out. `note` goes into the card,
    `shown` draws progress.
    Raises CheckpointError, GraphError, BundleError, ValueError for pictures that do not fit, or ParityError (with the
    report) where the gate fails; then nothing is written.
    """
    weights, source = _finished(path)
    meta = source.metadata
    reference = runtimes.torch_runner(source.build_classifier())
    questions = parity.ask(reference, fitting(found.test if found else None, meta), shown=shown)
    gate.require_accuracy(questions, meta.accuracy["test"])
    made = variants.make(source, hashlib.sha256(weights).hexdigest(), found.training if found else None, shown=shown)
    report = gate.judge(questions, made.graphs, left_out=made.left_out, shown=shown)
    checked = selfcheck.pictures(meta.size, meta.channels)
    expected = reference(checked)
    document = {
        **_document(name or f"alexnet-{meta.data['name']}", meta, onnxfile.labels(made.graphs["fp32"])),
        **variants.described(made, report, checked, expected),
    }
    contents = {
        bundle.WEIGHTS: weights,
        bundle.SELFCHECK: selfcheck.encode(checked, *expected),
        "README.md": (model_card(document["name"], meta, note) + parity_report.summary(report)).encode(),
        **variants.kept_files(made, report),
        **parity_report.files(report),
        **_drawn(meta),
    }
    return bundle.write(out, document, contents), report


def _finished(path: Path) -> tuple[bytes, Checkpoint]:
    """A checkpoint as bytes and decoded. Raises CheckpointError, also where the run was not finished."""
    weights = checkpoint.read(path)
    source = checkpoint.decode(weights, str(path))
    checkpoint.require_finished(source, str(path))
    return weights, source


def fitting(asked: Pictures | None, meta: Metadata) -> Pictures:
    """The pictures that were asked for, or the default ones. Raises ValueError where the network takes others."""
    found = asked or pictures.default(meta.size, meta.channels)
    if found.images.shape[1:] != (meta.size, meta.size, meta.channels):
        raise ValueError(f"the network takes {meta.size}x{meta.size}x{meta.channels}, not {found.images.shape[1:]}")
    return found


def _drawn(meta: Metadata) -> dict[str, bytes]:
    """The pictures that the card shows, by the names that it shows them by."""
    found = {"curves.png": curves(meta.history)}
    if "confusion" in meta.measures:
        found["confusion.png"] = confusion(torch.tensor(meta.measures["confusion"]), meta.classes)
    if "calibration" in meta.measures:
        found["reliability.png"] = reliability(calibration.from_json(meta.measures["calibration"]))
    return found


def _document(name: str, meta: Metadata, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "network": meta.network,
        "classes": meta.classes,
        "input": manifest.input_contract(meta.size, meta.channels),
        "outputs": manifest.OUTPUTS,
        "temperature": meta.temperature,
        "energy_threshold": meta.energy_threshold,
        "calibration_error": _calibration_error(meta),
        "accuracy": meta.accuracy,
        "data": meta.data,
        "provenance": {
            "checkpoint_sha256": labels["checkpoint_sha256"],
            "training": meta.provenance,
            **onnxfile.provenance(labels),
            "versions": {library: version(library) for library in ("torch", "onnx", "onnxscript")}
            | {"onnxruntime": onnxruntime.__version__},
        },
    }


def _calibration_error(meta: Metadata) -> dict[str, float] | None:
    """On the test pictures before and after the temperature, in 0..1; None where it was never measured."""
    if "calibration" not in meta.measures:
        return None
    found = calibration.from_json(meta.measures["calibration"])
    return {"before": found.error_before, "after": found.error_after}
