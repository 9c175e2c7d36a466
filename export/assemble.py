"""From a checkpoint to a bundle: graph, gate, self-check, card; nothing is written unless the gate is passed."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export import bundle, graph, parity
from export.bundle import Bundle
from export.parity import ParityReport
from training import calibration, checkpoint
from training.checkpoint import Metadata
from training.data import sources
from training.data.dataset import DataError
from training.data.folder import PICTURE_SUFFIXES
from training.pixels import Pixels, to_pixels
from training.reports.card import model_card
from training.reports.pictures import confusion, curves, reliability

SELFCHECK_PICTURES = 8
CROPS = 192
NOISE = 64


@dataclass(frozen=True)
class Pictures:
    """What the gate compares: uint8 [N, H, W, C], labels int64 [N] where they are known, and a name for reports."""

    images: Pixels
    labels: NDArray[np.int64] | None
    name: str


def export(
    path: Path, out: Path, pictures: Pictures | None = None, *, name: str | None = None, note: str = ""
) -> tuple[Bundle, ParityReport]:
    """Export the checkpoint at `path` into a bundle at `out`, and return it with the gate's report.

    Without `pictures` the gate takes crops of the golden photographs and seeded noise. `note` goes into the card.
    Raises CheckpointError, GraphError, BundleError, or ParityError (with the report) where the gate fails; then
    nothing is written.
    """
    source = checkpoint.load(path)
    meta = source.metadata
    if "test" not in meta.accuracy:
        raise checkpoint.CheckpointError(f"{path} is of an unfinished run: finish it with --resume")
    pictures = pictures or default_pictures(meta)
    if pictures.images.shape[1:] != (meta.size, meta.size, meta.channels):
        raise ValueError(f"the network takes {meta.size}x{meta.size}x{meta.channels}, not {pictures.images.shape[1:]}")
    classifier = source.build_classifier()
    model = graph.to_onnx(classifier, size=meta.size, channels=meta.channels, classes=meta.classes)
    reference = parity.torch_runner(classifier)
    report = parity.gate(reference, parity.onnx_runner(model), pictures.images, pictures.labels, pictures.name)
    weights = path.read_bytes()
    name = name or f"alexnet-{meta.data['name']}"
    contents = {
        bundle.MODEL: model,
        bundle.WEIGHTS: weights,
        bundle.SELFCHECK: _selfcheck(reference, meta),
        "README.md": (model_card(name, meta, note) + _parity_section(report)).encode(),
        **_drawn(meta),
    }
    document = _document(name, meta, report, hashlib.sha256(weights).hexdigest())
    return bundle.write(out, document, contents), report


def default_pictures(meta: Metadata) -> Pictures:
    """Crops of the golden photographs and noise; noise alone where the photographs are not at hand."""
    size, channels = meta.size, meta.channels
    # Three times the input's size, so that a crop shows a part of an object rather than a flat patch.
    photographs = [_photograph(path, 3 * size, channels) for path in golden_photographs()]
    if not photographs:
        noise = parity.seeded_noise(CROPS + NOISE, size, channels)
        return Pictures(noise, None, f"{len(noise)} pictures of seeded noise")
    crops = parity.random_crops(photographs, CROPS, size)
    images = np.concatenate([crops, parity.seeded_noise(NOISE, size, channels)])
    return Pictures(images, None, f"{CROPS} crops of photographs and {NOISE} pictures of seeded noise")


def labelled_pictures(kind: str, directory: Path | None, meta: Metadata) -> Pictures:
    """The test split of a data set whose classes are those of the checkpoint. Raises DataError where they differ."""
    dataset = sources.load(kind, directory, size=meta.size)
    if list(dataset.classes) != meta.classes:
        raise DataError(f"the classes of {directory or kind} are not the checkpoint's: {', '.join(meta.classes)}")
    images = np.ascontiguousarray(dataset.test.images.numpy())
    return Pictures(images, dataset.test.labels.numpy(), f"{len(images):,} test pictures of {dataset.name}")


def golden_photographs() -> Sequence[Path]:
    """The freely licensed photographs of the repository; none where only the packages are installed."""
    folder = Path(__file__).parent.parent / "tests" / "golden"
    return sorted(path for path in folder.glob("*") if path.suffix in PICTURE_SUFFIXES)


def _photograph(path: Path, size: int, channels: int) -> Pixels:
    with Image.open(path) as image:
        return to_pixels(image, size, channels)


def _selfcheck(reference: parity.Runner, meta: Metadata) -> bytes:
    """A few pictures and the outputs that an engine must reproduce, as an uncompressed npz without pickles."""
    images = parity.seeded_noise(SELFCHECK_PICTURES, meta.size, meta.channels, seed=1)
    # Every second one smooth, since noise alone stays far from what photographs do to a network.
    images[::2] = images[::2, :1, :1]
    images[::2, : meta.size // 2] //= 2
    buffer = io.BytesIO()
    np.savez(buffer, images=images, **reference(images)._asdict())
    return buffer.getvalue()


def _drawn(meta: Metadata) -> dict[str, bytes]:
    """The pictures that the card shows, by the names that it shows them by."""
    found = {"curves.png": curves(meta.history)}
    if "confusion" in meta.measures:
        found["confusion.png"] = confusion(torch.tensor(meta.measures["confusion"]), meta.classes)
    if "calibration" in meta.measures:
        found["reliability.png"] = reliability(calibration.from_json(meta.measures["calibration"]))
    return found


def _document(name: str, meta: Metadata, report: ParityReport, weights_sha256: str) -> dict[str, object]:
    return {
        "name": name,
        "network": meta.network,
        "classes": meta.classes,
        "input": {"name": "images", "dtype": "uint8", "layout": "NHWC", "size": meta.size, "channels": meta.channels},
        "outputs": ["logits", "probabilities"],
        "temperature": meta.temperature,
        "energy_threshold": meta.energy_threshold,
        "calibration_error": _calibration_error(meta),
        "accuracy": meta.accuracy,
        "data": meta.data,
        "variants": {"fp32": {"file": bundle.MODEL, "accuracy": report.accuracy.get("fp32")}},
        "parity": report.document(),
        "provenance": {
            "checkpoint_sha256": weights_sha256,
            "training": meta.provenance,
            "opset": graph.OPSET,
            "versions": {library: version(library) for library in ("torch", "onnx", "onnxscript")},
        },
    }


def _calibration_error(meta: Metadata) -> dict[str, float] | None:
    """On the test pictures before and after the temperature, in 0..1; None where it was never measured."""
    if "calibration" not in meta.measures:
        return None
    found = calibration.from_json(meta.measures["calibration"])
    return {"before": found.error_before, "after": found.error_after}


def _parity_section(report: ParityReport) -> str:
    rows = "".join(
        f"| {batch.batch_size} | {batch.max_logit_difference:.1e} | {batch.max_probability_difference:.1e} "
        f"| {batch.other_answers} | {batch.near_ties} |\n"
        for batch in report.batches
    )
    shares = ", ".join(f"{side} {share:.2%}" for side, share in report.accuracy.items())
    return (
        f"\n## Parity of PyTorch and ONNX Runtime\n\nOn {report.pictures}; the limit is "
        f"{parity.LOGIT_LIMIT:.0e}.{f' Accuracy on them: {shares}.' if shares else ''}\n\n"
        f"| batch | logits differ by | probabilities by | other answers | near ties |\n|---|---|---|---|---|\n{rows}"
    )
