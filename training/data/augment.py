"""Augmentation of a whole batch at once, on the device that holds it; every picture has draws of its own.

The draws of an epoch are made at once from the seed, one row a picture of the data set, so what happens to a picture
depends on seed, epoch and the picture alone: not on batch size, order, device or number of processes.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from training.data.colour import Palette, recolour, wanted
from training.recipe import Recipe


@dataclass(frozen=True)
class Draws:
    """Random choices for N pictures, one row each."""

    flip: Tensor  # bool [N]
    shift: Tensor  # int64 [N, 2]: rows and columns by which a crop moves, -padding..padding
    blank: Tensor  # int64 [N, 2]: row and column of the blanked square's centre
    factors: Tensor  # float32 [N, 4]: brightness, contrast, saturation (factors, 1 changes nothing), hue (turns)
    components: Tensor  # float32 [N, C]: steps along the colours' principal axes
    partner: Tensor  # int64 [N]: the picture of the data set that lends a rectangle
    box: Tensor  # int64 [N, 4]: its first row, last row + 1, first column, last column + 1; empty where none is lent

    def take(self, indices: Tensor) -> "Draws":
        """The rows at `indices`, in that order."""
        return Draws(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    def to(self, device: torch.device) -> "Draws":
        """The same draws on `device`."""
        return Draws(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw(count: int, size: int, channels: int, recipe: Recipe, generator: torch.Generator) -> Draws:
    """Draw for `count` pictures [size, size, channels] what `recipe` asks for."""
    padding = recipe.crop_padding
    flip = (torch.rand(count, generator=generator) < 0.5) & recipe.flip
    shift = torch.randint(-padding, padding + 1, (count, 2), generator=generator)
    blank = torch.randint(0, size, (count, 2), generator=generator)
    spread = torch.tensor([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue])
    factors = (2 * torch.rand(count, 4, generator=generator) - 1) * spread + torch.tensor([1.0, 1.0, 1.0, 0.0])
    components = torch.randn(count, channels, generator=generator) * recipe.fancy_pca
    partner = torch.randint(0, count, (count,), generator=generator)
    return Draws(flip, shift, blank, factors, components, partner, _box(count, size, recipe.cutmix, generator))


def _box(count: int, size: int, share: float, generator: torch.Generator) -> Tensor:
    """Squares of uniform area and centre, cut off at the border (Yun et al. 2019), in a share of the pictures."""
    side = size * torch.rand(count, 1, generator=generator).sqrt()
    centre = size * torch.rand(count, 2, generator=generator)
    lent = torch.rand(count, 1, generator=generator) < share
    ends = torch.stack((centre - side / 2, centre + side / 2), dim=2).round().clamp(0, size) * lent[..., None]
    return ends.flatten(start_dim=1).long()


def alternating_flip(count: int, seed: int, epoch: int) -> Tensor:
    """Half of the pictures mirrored in even epochs, the other half in odd ones: bool [count] (Jordan 2024).

    Two epochs then show both sides of every picture, where chance shows one side twice to half of them.
    """
    first = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5
    return first ^ (epoch % 2 == 1)


def augment(images: Tensor, draws: Draws, recipe: Recipe, palette: Palette) -> Tensor:
    """Mirror, shift (the border reflected), recolour and blank a square in uint8 images [N, H, W, C].

    A square is cut off at the border (DeVries & Taylor 2017).
    """
    count, height, width, _ = images.shape
    row, column = _axis(height, images), _axis(width, images)
    rows = _reflect(row + draws.shift[:, :1], height)
    columns = _reflect(column + draws.shift[:, 1:], width)
    columns = torch.where(draws.flip[:, None], width - 1 - columns, columns)
    picture = torch.arange(count, device=images.device)
    moved = images[picture[:, None, None], rows[:, :, None], columns[:, None, :]]
    if wanted(recipe):
        moved = recolour(moved, draws.factors, draws.components, palette)
    if recipe.cutout:
        down, across = _near(row, draws.blank[:, :1], recipe.cutout), _near(column, draws.blank[:, 1:], recipe.cutout)
        inside = down[:, :, None] & across[:, None]
        moved = torch.where(inside[..., None], palette.mean, moved)
    return moved


def cutmix(images: Tensor, others: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Paste the boxes int64 [N, 4] of `others` into uint8 images [N, H, W, C].

    Returns the pictures and the share of each that is left of itself, float32 [N].
    """
    _, height, width, _ = images.shape
    row, column = _axis(height, images), _axis(width, images)
    down = (row >= box[:, :1]) & (row < box[:, 1:2])
    across = (column >= box[:, 2:3]) & (column < box[:, 3:])
    inside = down[:, :, None] & across[:, None]
    return torch.where(inside[..., None], others, images), 1 - inside.float().mean(dim=(1, 2))


def _axis(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, device=like.device)[None, :]


def _reflect(index: Tensor, length: int) -> Tensor:
    """Fold indices that lie beyond a border back inside, without repeating the border itself."""
    return (length - 1) - ((length - 1) - index.abs()).abs()


def _near(index: Tensor, centre: Tensor, side: int) -> Tensor:
    """Which indices lie in the `side` pixels around `centre`."""
    return (index >= centre - side // 2) & (index < centre - side // 2 + side)
