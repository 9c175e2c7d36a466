"""The gate on a bundle that exists: every variant of it against the weights that lie beside it."""

from export import assemble, gate, onnxfile, parity, runtimes
from export.bundle import WEIGHTS, Bundle, BundleError
from export.parity import Pictures
from export.verdicts import ParityError, ParityReport
from training import checkpoint
from training.checkpoint import Checkpoint


def checkpoint_of(found: Bundle) -> Checkpoint:
    """The checkpoint in a bundle. Raises BundleError where there is none, or one of other classes."""
    if not found.has_weights:
        raise BundleError(
            f"{found.directory} was imported and has no PyTorch weights to compare with; import the original again"
        )
    source = checkpoint.decode(found.load(WEIGHTS), str(found.directory / WEIGHTS))
    if source.metadata.classes != list(found.classes):
        raise BundleError(f"the classes in {found.directory / WEIGHTS} are not, or not in the order of, bundle.json's")
    return source


def verify(found: Bundle, source: Checkpoint, asked: Pictures | None = None, *, shown: bool = False) -> ParityReport:
    """Judge every variant of the bundle by its checkpoint `source`, on `asked` or the gate's own pictures.

    Raises ParityError, with the report, where any variant fails, and ValueError where pictures or classes do not fit.
    """
    meta = source.metadata
    graphs = {name: found.load_variant(name) for name in found.variants}
    for model in graphs.values():
        # Files from before properties were written name no classes.
        if "classes" in onnxfile.labels(model):
            onnxfile.require_classes(model, meta.classes)
    questions = parity.ask(runtimes.torch_runner(source.build_classifier()), assemble.fitting(asked, meta), shown=shown)
    gate.require_accuracy(questions, meta.accuracy["test"])
    report = gate.judge(questions, graphs, shown=shown)
    if report.left_out:
        raise ParityError(report)
    return report
