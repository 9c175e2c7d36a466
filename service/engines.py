"""Engines: what turns a batch of pictures into logits and probabilities, and the choice among them.

The order is ONNX Runtime on CUDA, PyTorch on CUDA, ONNX Runtime on the CPU, PyTorch on the CPU. An engine counts only
if it really loaded on its device and reproduces the bundle's self-check.
"""

import ctypes
import io
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnxruntime

from export.bundle import MODEL, SELFCHECK, WEIGHTS, Bundle, Outputs
from service import contract
from service.settings import ENGINES
from service.tuning import Tuning, cuda_options, session_options
from training.pixels import Pixels

if TYPE_CHECKING:
    from training.classifier import Classifier

# fp32 without TF32 stays within 1e-4 on the CPU; CUDA's convolutions sum in other orders and get ten times that.
SELFCHECK_LIMIT = 1e-3

# TF32 keeps ten bits of a number's mantissa, which moved logits by up to 0.3.
TF32_LIMIT = 0.5

DEFAULT = Tuning()

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

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""


@dataclass(frozen=True)
class Choice:
    """The engine that serves, and why each one before it in the order was passed over."""

    engine: Engine
    passed_over: Mapping[str, str]


class OnnxEngine:
    """ONNX Runtime with the CUDA or the CPU provider."""

    def __init__(self, bundle: Bundle, device: str, tuning: Tuning = DEFAULT) -> None:
        self.name = f"onnx-{device}"
        self.device = device
        provider: Any = "CPUExecutionProvider"
        if device == "cuda":
            require_cuda_driver()
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise EngineError("this build of ONNX Runtime has no CUDA provider; install onnxruntime-gpu")
            onnxruntime.preload_dlls()
            provider = ("CUDAExecutionProvider", cuda_options(tuning))
        options = session_options(tuning)
        self._session = onnxruntime.InferenceSession(bundle.load(MODEL), options, providers=[provider])
        # A provider whose libraries are missing is only a warning to ONNX Runtime, which then runs on the CPU.
        active = self._session.get_providers()[0]
        if not active.lower().startswith(device):
            raise EngineError(
                f"ONNX Runtime fell back to {active}; its CUDA libraries are missing or do not fit the driver: "
                "install the extra 'cuda' (make serve does where it finds a driver)"
            )
        if reason := contract.broken(self._session, bundle):
            raise EngineError(reason)

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        return Outputs(*self._session.run(["logits", "probabilities"], {"images": images}))


class TorchEngine:
    """PyTorch on CUDA or the CPU, from the bundle's checkpoint; always in full fp32."""

    def __init__(self, bundle: Bundle, device: str, tuning: Tuning = DEFAULT) -> None:
        self.name = f"torch-{device}"
        self.device = device
        if not bundle.has_weights:
            raise EngineError("this model was imported as ONNX and has no PyTorch weights: there is no fallback for it")
        if device == "cuda":
            require_cuda_driver()
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


def load(name: str, bundle: Bundle, tuning: Tuning = DEFAULT) -> Engine:
    """Load one engine and check it on the bundle's self-check. Raises EngineError."""
    kind, device = name.split("-")
    try:
        engine: Engine = (OnnxEngine if kind == "onnx" else TorchEngine)(bundle, device, tuning)
        self_check(engine, bundle, TF32_LIMIT if tuning.tf32 and name == "onnx-cuda" else SELFCHECK_LIMIT)
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


def require_cuda_driver() -> None:
    """Raise EngineError where there is no NVIDIA driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise EngineError(f"there is no NVIDIA driver here ({library} is not found)") from error
