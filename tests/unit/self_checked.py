"""An engine of exact arithmetic, and a bundle that is nothing but the self-check that it passes."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from export.bundle import SELFCHECK, Outputs
from training.pixels import Pixels


@dataclass
class FakeEngine:
    """The logit of a picture is its first pixel plus `error`: exact in float32."""

    name: str
    error: float = 0.0
    device: str = "fake"
    probability_error: float = 0.0
    variant: str = "fp32"

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        logits = images[:, 0, 0, :1].astype(np.float32) + np.float32(self.error)
        return Outputs(logits, logits + np.float32(self.probability_error))


@dataclass
class SelfChecked:
    """A bundle of whose files only the self-check is there: four pictures whose logits are their first pixels."""

    name: str = "fake"
    version: str = "0123456789ab"
    images: Pixels = field(default_factory=lambda: np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))

    limits: Mapping[str, float] = field(default_factory=dict)

    def preferred(self, provider: str) -> str:
        """int8 on the CPU, where there is one."""
        return "int8" if provider == "cpu" and "int8" in self.limits else "fp32"

    def selfcheck_limit(self, variant: str) -> float:
        """A thousandth, but for variants that say otherwise."""
        return self.limits.get(variant, 1e-3)

    def load(self, name: str) -> bytes:
        """The content of the self-check."""
        assert name == SELFCHECK
        buffer = io.BytesIO()
        first = self.images[:, 0, 0, :1].astype(np.float32)
        np.savez(buffer, images=self.images, logits=first, probabilities=first)
        return buffer.getvalue()
