"""From a foreign classifier to a bundle: wrapped, compared with the original, described; else nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from export import (
    bundle,
    gate,
    manifest,
    onnxfile,
    original,
    parity,
    parity_report,
    pictures,
    runtimes,
    selfcheck,
    wrapping,
)
from export.bundle import Bundle, Runner
from export.foreign import Foreign, ForeignError, first_line
from export.imported_card import imported_card
from export.original import Original
from export.parity import Pictures
from export.verdicts import ParityReport
from export.wrapping import Normalisation
from training.data import sources
from training.data.dataset import DataError
from training.pixels import Pixels

EVALUATED = 2  # pictures: onnx's evaluator takes seconds for one of 224x224
# Its sums are in another order, and partly in float64.
EVALUATOR_LIMIT = 1e-3


@dataclass(frozen=True)
class Measured:
    """Labelled pictures to measure accuracy on, and what bundle.json says of them."""

    pictures: Pictures
    data: Mapping[str, Any]


def import_model(
    source: Foreign,
    classes: Sequence[str],
    normalisation: Normalisation,
    out: Path,
    measured: Measured | None = None,
    *,
    name: str,
    note: str = "",
    shown: bool = False,
) -> tuple[Bundle, ParityReport]:
    """Wrap a foreign classifier into a bundle at `out`, and return it with the gate's report.

    Without labelled pictures the gate takes crops of photographs and noise, and the accuracy stays unknown. Raises
    ForeignError, BundleError, or ParityError (with the report) where the gate fails; then nothing is written.
    """
    checked = selfcheck.pictures(source.size, source.channels)
    found = original.examine(source, normalisation, checked, len(classes))
    model = _wrapped(found, classes, checked[:3])
    reference = found.runner(original.in_onnx_runtime(source))
    asked = measured.pictures if measured else pictures.default(source.size, source.channels)
    questions = parity.ask(reference, asked, shown=shown)
    report = gate.judge(questions, {"fp32": model}, reference=source.name, evaluated=False, shown=shown)
    evaluated = _evaluate(found, runtimes.onnx_runner(model), asked.images[:EVALUATED])
    document = _document(found, classes, report, measured, onnxfile.labels(model))
    document |= {"name": name, "parity": {"evaluator": evaluated}}
    contents = {
        bundle.MODEL: model,
        bundle.SELFCHECK: selfcheck.encode(checked, *reference(checked)),
        "README.md": imported_card(document, report, note).encode(),
        **parity_report.files(report),
    }
    return bundle.write(out, document, contents), report


def labelled_pictures(kind: str, directory: Path, classes: Sequence[str], size: int) -> Measured:
    """The test split of a data set, labels numbered as in `classes`; it may lack some of them. Raises DataError."""
    dataset = sources.load(kind, directory, size=size)
    if unknown := sorted(set(dataset.classes) - set(classes)):
        raise DataError(f"classes of {directory} are not among the model's: {', '.join(unknown)}")
    numbers = np.array([list(classes).index(name) for name in dataset.classes], np.int64)
    images = np.ascontiguousarray(dataset.test.images.numpy())
    asked = Pictures(images, numbers[dataset.test.labels.numpy()], f"{len(images):,} test pictures of {dataset.name}")
    return Measured(asked, {"name": dataset.name, "test": len(images)})


def _wrapped(found: Original, classes: Sequence[str], images: Pixels) -> bytes:
    """The bundle's graph, which takes as many pictures as it is given. Raises ForeignError."""
    source = found.source
    model = wrapping.wrap(source, found.normalisation, len(classes), from_probabilities=found.gives_probabilities)
    onnxfile.strip(model)
    contract = manifest.input_contract(source.size, source.channels)
    onnxfile.label(model, classes=classes, contract=contract, source={"source_sha256": source.sha256})
    try:
        onnx.checker.check_model(model, full_check=True)
        content = bytes(model.SerializeToString(deterministic=True))
        session = original.quiet_session(content)
        counts = [len(session.run(["logits"], {"images": images[:count]})[0]) for count in (1, len(images))]
    except Exception as error:  # of the checker, of shape inference or of ONNX Runtime
        raise ForeignError(f"{source.name} {_batch_reason(source)} ({first_line(error)})") from error
    if counts != [1, len(images)]:
        raise ForeignError(f"{source.name} {_batch_reason(source)} ({counts[1]} answers for {len(images)} pictures)")
    return content


def _batch_reason(source: Foreign) -> str:
    if source.batch is None:
        return "cannot be run with any number of pictures"
    return (
        f"takes batches of {source.batch} alone, inside its graph too, and cannot be freed of that; export it again "
        "with a batch axis of any size (torch.onnx.export with dynamic_shapes)"
    )


def _evaluate(found: Original, candidate: Runner, images: Pixels) -> dict[str, Any]:
    """What onnx's evaluator says of a few pictures, or why it cannot. Raises ForeignError where it disagrees."""
    try:
        expected = found.runner(original.in_evaluator(found.source))(images)
    except Exception as error:  # it raises what NumPy and Python raise
        return {"pictures": 0, "reason": first_line(error) or type(error).__name__}
    difference = float(np.abs(expected.logits - candidate(images).logits).max())
    if not difference <= EVALUATOR_LIMIT:
        raise ForeignError(
            f"onnx's reference evaluator gives other logits for {found.source.name} than ONNX Runtime: they differ by "
            f"{difference:.1e}, and {EVALUATOR_LIMIT:.0e} is the limit"
        )
    return {"pictures": len(images), "max_logit_difference": difference, "logit_limit": EVALUATOR_LIMIT}


def _document(
    found: Original, classes: Sequence[str], report: ParityReport, measured: Measured | None, labels: Mapping[str, str]
) -> dict[str, Any]:
    source, accuracy = found.source, report.of("fp32").accuracy
    return {
        "network": None,
        "classes": list(classes),
        "input": manifest.input_contract(source.size, source.channels),
        "outputs": manifest.OUTPUTS,
        "temperature": 1.0,
        "energy_threshold": None,
        "calibration_error": None,
        "accuracy": {} if accuracy is None else {"test": accuracy},
        "data": dict(measured.data) if measured else None,
        "variants": {"fp32": {"file": bundle.MODEL, "accuracy": accuracy}},
        "provenance": {
            "imported": {
                "file": source.name,
                "sha256": source.sha256,
                "gives": "probabilities" if found.gives_probabilities else "logits",
                "fixed_batch": source.batch,
                "mean": list(found.normalisation.mean),
                "std": list(found.normalisation.std),
            },
            **onnxfile.provenance(labels),
            "versions": {"onnx": version("onnx"), "onnxruntime": onnxruntime.__version__},
        },
    }
