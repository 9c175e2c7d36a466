"""What happens to pictures on their way: compression, noise, blur, another light. For measuring, not for training.

Every change takes uint8 [N, H, W, C] on the CPU and gives the same, and does the same each time. The strengths suit
32x32: they go about as far as the severities of CIFAR-10-C (Hendrycks & Dietterich 2019), but further in JPEG.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PART = 500  # pictures changed at once: as floats they are several times larger
NOISE_SEED = 0


@dataclass(frozen=True)
class Change:
    """A change, by a name that tells in brackets what a strength means, and three strengths, the mildest first."""

    name: str
    apply: Callable[[Tensor, float], Tensor]
    strengths: tuple[float, float, float]


def jpeg(images: Tensor, quality: float) -> Tensor:
    """Encode as JPEG at `quality`, 1..95, with Pillow's default of colour at half resolution, and decode again."""
    decoded = np.empty_like(images.numpy())
    for number, pixels in enumerate(images.numpy()):
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as picture:
            decoded[number] = np.asarray(picture).reshape(pixels.shape)
    return torch.from_numpy(decoded)


def noise(images: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise of that standard deviation, in steps of 1/255, to every value; always the same noise."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    return _in_parts(images, lambda part: part.float() + deviation * torch.randn(part.shape, generator=generator))


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of `sigma` pixels, cut off at four of them; beyond a border its own pixels go on."""
    down, across = (_blurring(side, sigma) for side in images.shape[1:3])
    return _in_parts(images, lambda part: torch.einsum("ij,njkc,lk->nilc", down, part.double(), across))


def brightness(images: Tensor, shift: float) -> Tensor:
    """Add `shift`, in steps of 1/255, to every value."""
    return _in_parts(images, lambda part: part.float() + shift)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Multiply the distances from each picture's mean colour."""

    def change(part: Tensor) -> Tensor:
        means = part.double().mean(dim=(1, 2), keepdim=True)
        return means + factor * (part - means)

    return _in_parts(images, change)


CHANGES = (
    Change("JPEG (quality)", jpeg, (40, 20, 10)),
    Change("Gaussian noise (standard deviation of 255)", noise, (10, 20, 30)),
    Change("Gaussian blur (sigma in pixels)", blur, (0.5, 0.75, 1.0)),
    Change("brighter (added of 255)", brightness, (25, 50, 75)),
    Change("darker (added of 255)", brightness, (-25, -50, -75)),
    Change("less contrast (factor)", contrast, (0.75, 0.5, 0.25)),
    Change("more contrast (factor)", contrast, (1.5, 2.0, 3.0)),
)


def _in_parts(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change`, which may give any number, brought back to whole values in 0..255."""
    return torch.cat([change(part).round().clamp(0, 255).to(torch.uint8) for part in images.split(PART)])


def _blurring(side: int, sigma: float) -> Tensor:
    """float64 [side, side]: row i has the weights of all pixels in the blurred pixel i."""
    reach = math.ceil(4 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    sources = (torch.arange(side)[:, None] + offsets).clamp(0, side - 1)
    blurring = torch.zeros(side, side, dtype=torch.float64)
    return blurring.scatter_add_(1, sources, (weights / weights.sum()).expand(side, -1))
