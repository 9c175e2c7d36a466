"""Augmentation of a whole batch at once, on the device that holds it; every picture has draws of its own.

The draws of an epoch are made at once from the seed, one row a picture of the data set, so what happens to a picture
depends on seed, epoch and the picture alone: not on batch size, order or device.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from training.recipes import Recipe


@dataclass(frozen=True)
class Draws:
    """Random choices for N pictures, one row each."""

    flip: Tensor  # bool [N]
    shift: Tensor  # int64 [N, 2]: rows and columns by which a crop moves, -padding..padding
    blank: Tensor  # int64 [N, 2]: row and column of the blanked square's centre

    def take(self, indices: Tensor) -> "Draws":
        """The rows at `indices`, in that order."""
        return Draws(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    def to(self, device: torch.device) -> "Draws":
        """The same draws on `device`."""
        return Draws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(count: int, size: int, recipe: Recipe, generator: torch.Generator) -> Draws:
    """Draw for `count` pictures of `size` x `size` what `recipe` asks for."""
    padding = recipe.crop_padding
    return Draws(
        flip=(torch.rand(count, generator=generator) < 0.5) & recipe.flip,
        shift=torch.randint(-padding, padding + 1, (count, 2), generator=generator),
        blank=torch.randint(0, size, (count, 2), generator=generator),
    )


def augment(images: Tensor, draws: Draws, cutout: int, fill: Tensor) -> Tensor:
    """Mirror, shift (the border reflected) and blank a square of side `cutout` in uint8 images [N, H, W, C].

    `fill` is the uint8 colour [C] of the blanked square. A square is cut off at the border (DeVries & Taylor 2017).
    """
    count, height, width, _ = images.shape
    row, column = _axis(height, images), _axis(width, images)
    rows = _reflect(row + draws.shift[:, :1], height)
    columns = _reflect(column + draws.shift[:, 1:], width)
    columns = torch.where(draws.flip[:, None], width - 1 - columns, columns)
    picture = torch.arange(count, device=images.device)
    moved = images[picture[:, None, None], rows[:, :, None], columns[:, None, :]]
    if cutout:
        inside = _near(row, draws.blank[:, :1], cutout)[:, :, None] & _near(column, draws.blank[:, 1:], cutout)[:, None]
        moved = torch.where(inside[..., None], fill, moved)
    return moved


def _axis(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, device=like.device)[None, :]


def _reflect(index: Tensor, length: int) -> Tensor:
    """Fold indices that lie beyond a border back inside, without repeating the border itself."""
    return (length - 1) - ((length - 1) - index.abs()).abs()


def _near(index: Tensor, centre: Tensor, side: int) -> Tensor:
    """Which indices lie in the `side` pixels around `centre`."""
    return (index >= centre - side // 2) & (index < centre - side // 2 + side)
