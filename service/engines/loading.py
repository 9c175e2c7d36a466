"""An engine by its name, checked: it counts only if it really loaded and reproduces the bundle's self-check."""

import io
import logging

import numpy as np

from export.bundle import SELFCHECK, SELFCHECK_LIMIT, Bundle
from export.tuning import DEFAULT, Tuning
from service.engines.engine import Engine, EngineError, OnnxEngine, TorchEngine

# TF32 keeps ten bits of a number's mantissa, which moved logits by up to 0.3.
TF32_LIMIT = 0.5

logger = logging.getLogger("alexnet")


def load(name: str, bundle: Bundle, tuning: Tuning = DEFAULT, variant: str = "auto") -> Engine:
    """Load one engine and check it on the bundle's self-check. Raises EngineError.

    For "auto" ONNX Runtime takes the variant that the bundle prefers for its provider, or fp32 if that does not run.
    """
    kind, provider = name.split("-")
    if variant == "auto" and kind == "onnx" and (preferred := bundle.preferred(provider)) != "fp32":
        try:
            return _checked(name, bundle, tuning, preferred)
        except EngineError as error:
            logger.info("engine %s does not run the variant %s: %s", name, preferred, error)
    return _checked(name, bundle, tuning, "fp32" if variant == "auto" else variant)


def _checked(name: str, bundle: Bundle, tuning: Tuning, variant: str) -> Engine:
    kind, provider = name.split("-")
    try:
        engine: Engine = (OnnxEngine if kind == "onnx" else TorchEngine)(bundle, provider, tuning, variant)
        limit = bundle.selfcheck_limit(variant)
        self_check(engine, bundle, max(limit, TF32_LIMIT) if tuning.tf32 and name == "onnx-cuda" else limit)
    except EngineError:
        raise
    except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
        raise EngineError(f"{type(error).__name__}: {error}") from error
    return engine


def self_check(engine: Engine, bundle: Bundle, limit: float = SELFCHECK_LIMIT) -> None:
    """Let the engine reproduce the outputs stored in the bundle. Raises EngineError where it does not."""
    with np.load(io.BytesIO(bundle.load(SELFCHECK)), allow_pickle=False) as stored:
        found = engine.run(stored["images"])
        for output, values in found._asdict().items():
            difference = float(np.abs(values - stored[output]).max())
            if not difference <= limit:
                reason = f"its {output} differ by {difference:.1e} from the bundle's self-check (limit {limit:.0e})"
                raise EngineError(reason)
