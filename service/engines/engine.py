"""Engines: what turns a batch of pictures into logits and probabilities."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from export import providers
from export.bundle import WEIGHTS, Bundle, BundleError, Outputs
from export.providers import ProviderError
from export.tuning import DEFAULT, Tuning
from service.engines import binding, contract
from service.engines.binding import Bound
from training.pixels import Pixels

if TYPE_CHECKING:
    from training.classifier import Classifier

# Why PyTorch cannot run a model here.
NO_WEIGHTS = "this model was imported as ONNX and has no PyTorch weights"
NO_TORCH = "PyTorch is not installed; install the extra 'torch' (make setup)"


class EngineError(Exception):
    """An engine cannot run here; the message says why."""


class Engine(Protocol):
    """Runs the bundle's network on one device."""

    @property
    def name(self) -> str:
        """One of settings.ENGINES."""

    @property
    def device(self) -> str:
        """cuda or cpu."""

    @property
    def variant(self) -> str:
        """The variant of the graph that it runs: fp32, fp16 or int8."""

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""


class OnnxEngine:
    """ONNX Runtime with the provider cuda, openvino or cpu, on one variant of the graph."""

    def __init__(self, bundle: Bundle, provider: str, tuning: Tuning = DEFAULT, variant: str = "fp32") -> None:
        self.name = f"onnx-{provider}"
        self.device = "cuda" if provider == "cuda" else "cpu"
        self.variant = variant
        try:
            if provider == "cuda":
                providers.require_cuda_driver()
            self._session = providers.session(bundle.load_variant(variant), provider, tuning)
        except (ProviderError, BundleError) as error:
            raise EngineError(str(error)) from error
        if reason := contract.broken(self._session, bundle):
            raise EngineError(reason)
        self._bound: Bound | None = None
        if provider == "cuda":
            self._bound = Bound(self._session, len(bundle.classes), binding.pinned_or_pageable())

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]; on CUDA in one thread at a time."""
        if self._bound is not None:
            return self._bound.run(images)
        return Outputs(*self._session.run(list(Outputs._fields), {"images": images}))


class TorchEngine:
    """PyTorch on CUDA or the CPU, from the bundle's checkpoint; always in full fp32."""

    def __init__(self, bundle: Bundle, device: str, tuning: Tuning = DEFAULT, variant: str = "fp32") -> None:
        self.name = f"torch-{device}"
        self.device = device
        self.variant = variant
        if variant != "fp32":
            raise EngineError(f"PyTorch runs fp32 alone, not {variant}")
        if not bundle.has_weights:
            raise EngineError(NO_WEIGHTS)
        if device == "cuda":
            try:
                providers.require_cuda_driver()
            except ProviderError as error:
                raise EngineError(str(error)) from error
        if find_spec("torch") is None:
            raise EngineError(NO_TORCH)
        import torch

        from training import checkpoint
        from training.device import keep_fp32_exact

        if device == "cuda" and not torch.cuda.is_available():
            raise EngineError("PyTorch finds no usable CUDA device")
        keep_fp32_exact()
        if tuning.threads:
            torch.set_num_threads(tuning.threads)
        self._torch = torch
        source = checkpoint.decode(bundle.load(WEIGHTS), WEIGHTS)
        if source.metadata.classes != list(bundle.classes):
            raise EngineError(f"the classes in {WEIGHTS} are not those in bundle.json, or in another order")
        self._classifier: Classifier = source.build_classifier().to(device)

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        with self._torch.inference_mode():
            logits, probabilities = self._classifier(self._torch.from_numpy(images).to(self.device))
            return Outputs(logits.cpu().numpy(), probabilities.cpu().numpy())
