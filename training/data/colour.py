"""Colour jitter and fancy PCA as one affine map of the colours for each picture: x -> M x + o.

Brightness, contrast, saturation and hue are each affine in the colour, so a picture's four are multiplied into one
3x3 matrix and an offset, and the pixels are read and written once.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.recipe import Recipe

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in a grey value (ITU-R BT.601)
# From RGB to luma and the colour plane (YIQ, FCC 1953), where a change of hue is a rotation.
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))

PIXELS_AT_ONCE = 2_000_000


def wanted(recipe: Recipe) -> bool:
    """Whether a recipe changes colours at all."""
    return any((recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue, recipe.fancy_pca))


@dataclass(frozen=True)
class Palette:
    """What augmentation must know of the training pictures' colours, and the constants of colour, on one device."""

    mean: Tensor  # uint8 [C]: the colour of a blanked square, which normalises to nearly zero
    axes: Tensor  # float32 [C, C]: principal axes of the colours as rows, each times its eigenvalue
    luma: Tensor  # float32 [C]
    to_yiq: Tensor  # float32 [3, 3]
    from_yiq: Tensor  # float32 [3, 3]


def palette(images: Tensor, device: torch.device) -> Palette:
    """The palette of uint8 images [N, H, W, C]; the covariance is that of colours on the scale 0..1."""
    channels = images.shape[3]
    total, products = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, channels, dtype=torch.float64)
    for part in images.split(max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))):
        values = part.reshape(-1, channels).double() / 255
        total += values.sum(dim=0)
        products += values.T @ values
    pixels = images.numel() / channels
    mean = total / pixels
    eigenvalues, eigenvectors = torch.linalg.eigh(products / pixels - torch.outer(mean, mean))
    to_yiq = torch.tensor(YIQ)
    return Palette(
        mean=(255 * mean).round().to(device, torch.uint8),
        axes=(eigenvectors * eigenvalues).T.to(device, torch.float32),
        luma=torch.tensor(LUMA if channels == 3 else (1.0,)).to(device),
        to_yiq=to_yiq.to(device),
        from_yiq=torch.linalg.inv(to_yiq).to(device),
    )


def recolour(images: Tensor, factors: Tensor, components: Tensor, palette: Palette) -> Tensor:
    """Change the colours of uint8 images [N, H, W, C] picture by picture.

    `factors` float32 [N, 4]: brightness, contrast (about the picture's mean grey), saturation, hue in turns, applied
    in this order. `components` float32 [N, C]: steps along the principal axes, added last (Krizhevsky et al. 2012,
    section 4.1). Grey pictures have no saturation and no hue.
    """
    count, channels = images.shape[0], images.shape[3]
    pixels = images.reshape(count, -1, channels).float()
    brightness, contrast = factors[:, 0, None, None], factors[:, 1, None, None]
    matrix = brightness * contrast * torch.eye(channels, device=images.device)
    # Saturation and hue leave greys alone, so the grey that contrast adds may be added after them.
    grey = (1 - contrast) * brightness * (pixels.mean(dim=1) @ palette.luma)[:, None, None]
    if channels == 3:
        matrix = _saturation_and_hue(factors[:, 2], factors[:, 3], palette) @ matrix
    offset = grey + 255 * (components @ palette.axes)[:, None]
    changed = torch.baddbmm(offset, pixels, matrix.transpose(1, 2))
    return changed.round().clamp(0, 255).to(torch.uint8).view_as(images)


def _saturation_and_hue(saturation: Tensor, turns: Tensor, palette: Palette) -> Tensor:
    """Scale and rotate the colour plane: float32 [N, 3, 3] on RGB."""
    cosine, sine = saturation * torch.cos(2 * math.pi * turns), saturation * torch.sin(2 * math.pi * turns)
    zero, one = torch.zeros_like(turns), torch.ones_like(turns)
    rows = (one, zero, zero, zero, cosine, -sine, zero, sine, cosine)
    return palette.from_yiq @ torch.stack(rows, dim=1).view(-1, 3, 3) @ palette.to_yiq
