"""What runs a network for the gate: PyTorch, ONNX Runtime's providers that load here, and onnx's own evaluator."""

from collections.abc import Iterator

import onnx
import torch
from onnx.reference import ReferenceEvaluator

from export import providers
from export.bundle import Outputs, Runner
from training.classifier import Classifier
from training.pixels import Pixels


def torch_runner(classifier: Classifier) -> Runner:
    """PyTorch in fp32 on the CPU."""

    def run(images: Pixels) -> Outputs:
        with torch.inference_mode():
            return Outputs(*(output.numpy() for output in classifier(torch.from_numpy(images))))

    return run


def onnx_runner(model: bytes, provider: str = "cpu") -> Runner:
    """ONNX Runtime with provider cpu, cuda or openvino. Raises ProviderError, or ONNX Runtime's own errors."""
    session = providers.session(model, provider)

    def run(images: Pixels) -> Outputs:
        return Outputs(*session.run(list(Outputs._fields), {"images": images}))

    return run


def other_runners(model: bytes) -> Iterator[tuple[str, Runner]]:
    """Every provider beside the CPU's that loads `model` here, by its name."""
    for provider in providers.PROVIDERS:
        if provider == "cpu":
            continue
        try:
            yield provider, onnx_runner(model, provider)
        except Exception:  # noqa: S112 - a provider that cannot load is none of those here
            continue


def evaluator(model: bytes) -> Runner:
    """onnx's reference evaluator, plain NumPy: it shares no code with the exporter or ONNX Runtime."""
    evaluated = ReferenceEvaluator(onnx.load_model_from_string(model))

    def run(images: Pixels) -> Outputs:
        return Outputs(*evaluated.run(list(Outputs._fields), {"images": images}))

    return run
