"""Engines: what turns a batch of pictures into logits and probabilities, and the choice among them.

The order is ONNX Runtime on CUDA, PyTorch on CUDA, ONNX Runtime on the CPU, PyTorch on the CPU. An engine counts only
if it really loaded on its device and reproduces the bundle's self-check.
"""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np

from export import providers
from export.bundle import SELFCHECK, SELFCHECK_LIMIT, WEIGHTS, Bundle, BundleError, Outputs
from export.providers import ProviderError
from export.tuning import DEFAULT, Tuning
from service import binding, contract
from service.binding import Bound
from service.settings import ENGINES
from training.pixels import Pixels

if TYPE_CHECKING:
    from training.classifier import Classifier

# TF32 keeps ten bits of a number's mantissa, which moved logits by up to 0.3.
TF32_LIMIT = 0.5

logger = logging.getLogger("alexnet")


class EngineError(Exception):
    """An engine cannot run here; the message says why."""


class Engine(Protocol):
    """Runs the bundle's network on one device."""

    @property
    def name(self) -> str:
        """One of ENGINES."""

    @property
    def device(self) -> str:
        """cuda or cpu."""

    @property
    def variant(self) -> str:
        """The variant of the graph that it runs: fp32, fp16 or int8."""

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""


@dataclass(frozen=True)
class Choice:
    """The engine that serves, and why each one before it in the order was passed over."""

    engine: Engine
    passed_over: Mapping[str, str]


class OnnxEngine:
    """ONNX Runtime with the CUDA or the CPU provider, on one variant of the graph."""

    def __init__(self, bundle: Bundle, device: str, tuning: Tuning = DEFAULT, variant: str = "fp32") -> None:
        self.name = f"onnx-{device}"
        self.device = device
        self.variant = variant
        try:
            if device == "cuda":
                providers.require_cuda_driver()
            self._session = providers.session(bundle.load_variant(variant), device, tuning)
        except (ProviderError, BundleError) as error:
            raise EngineError(str(error)) from error
        if reason := contract.broken(self._session, bundle):
            raise EngineError(reason)
        self._bound: Bound | None = None
        if device == "cuda":
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
            raise EngineError("this model was imported as ONNX and has no PyTorch weights: there is no fallback for it")
        if device == "cuda":
            try:
                providers.require_cuda_driver()
            except ProviderError as error:
                raise EngineError(str(error)) from error
        if find_spec("torch") is None:
            raise EngineError("PyTorch is not installed; install the extra 'torch' (make setup)")
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


def load(name: str, bundle: Bundle, tuning: Tuning = DEFAULT, variant: str = "auto") -> Engine:
    """Load one engine and check it on the bundle's self-check. Raises EngineError.

    Where `variant` is "auto", it is the one that the bundle prefers there, or else fp32.
    """
    kind, device = name.split("-")
    preferred = bundle.preferred(device) if variant == "auto" and kind == "onnx" else variant
    try:
        return _load(name, bundle, tuning, "fp32" if preferred == "auto" else preferred)
    except EngineError as error:
        if variant != "auto" or preferred in ("auto", "fp32"):
            raise
        logger.info("engine %s does not run the variant %s: %s", name, preferred, error)
    return _load(name, bundle, tuning, "fp32")


def _load(name: str, bundle: Bundle, tuning: Tuning, variant: str) -> Engine:
    kind, device = name.split("-")
    try:
        engine: Engine = (OnnxEngine if kind == "onnx" else TorchEngine)(bundle, device, tuning, variant)
        limit = bundle.selfcheck_limit(variant)
        self_check(engine, bundle, max(limit, TF32_LIMIT) if tuning.tf32 and name == "onnx-cuda" else limit)
    except EngineError:
        raise
    except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
        raise EngineError(f"{type(error).__name__}: {error}") from error
    return engine


def choose(wanted: str, bundle: Bundle, loader: Callable[[str, Bundle], Engine] = load) -> Choice:
    """The first engine that runs, or, where `wanted` is not "auto", that one. Raises EngineError saying why not."""
    return first(ENGINES if wanted == "auto" else (wanted,), bundle, loader)


def first(names: Sequence[str], bundle: Bundle, loader: Callable[[str, Bundle], Engine] = load) -> Choice:
    """The first of the named engines that runs. Raises EngineError with the reason of each."""
    passed_over: dict[str, str] = {}
    for name in names:
        try:
            engine = loader(name, bundle)
        except EngineError as error:
            passed_over[name] = str(error)
            logger.info("engine %s is passed over: %s", name, error)
            continue
        logger.info("engine %s runs %s:%s", name, bundle.name, bundle.version)
        return Choice(engine, passed_over)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    raise EngineError(f"engine {reasons}" if len(names) == 1 else f"no engine can run ({reasons})")


def self_check(engine: Engine, bundle: Bundle, limit: float = SELFCHECK_LIMIT) -> None:
    """Let the engine reproduce the outputs stored in the bundle. Raises EngineError where it does not."""
    with np.load(io.BytesIO(bundle.load(SELFCHECK)), allow_pickle=False) as stored:
        found = engine.run(stored["images"])
        for output, values in found._asdict().items():
            difference = float(np.abs(values - stored[output]).max())
            if not difference <= limit:
                reason = f"its {output} differ by {difference:.1e} from the bundle's self-check (limit {limit:.0e})"
                raise EngineError(reason)
