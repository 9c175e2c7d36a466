"""Augmentation in exact arithmetic: each result is compared with the same thing done in numpy, picture by picture."""

from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data import colour
from training.data.augment import Draws, alternating_flip, augment, cutmix, draw
from training.data.colour import Palette
from training.epoch import epoch_seed
from training.pixels import Pixels
from training.recipe import Recipe, Stage

SIZE, PADDING = 8, 4
RECIPE = Recipe(network="compact", stages=(Stage(1, 32, 0.1),), crop_padding=PADDING, cutout=3)
STILL = replace(RECIPE, flip=False, crop_padding=0, cutout=0)
FILL = torch.tensor([1, 2, 3], dtype=torch.uint8)
SHIFTS = list(product(range(-PADDING, PADDING + 1), repeat=2))
PLACES = list(product(range(SIZE), repeat=2))


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(10, 256, (count, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)


def draws(count: int, **chosen: Tensor) -> Draws:
    """Draws that change nothing, but for those chosen."""
    return replace(drawn(count, recipe=STILL), **chosen)


def drawn(count: int, seed: int = 0, recipe: Recipe = RECIPE) -> Draws:
    return draw(count, SIZE, 3, recipe, torch.Generator().manual_seed(seed))


def palette(channels: int = 3) -> Palette:
    """A palette with a mean that no picture holds."""
    grey = torch.zeros(1, 1, 1, channels, dtype=torch.uint8)
    return replace(colour.palette(grey, torch.device("cpu")), mean=FILL[:channels])


def augmented(images: Tensor, chosen: Draws, recipe: Recipe = RECIPE) -> Tensor:
    return augment(images, chosen, recipe, palette(images.shape[3]))


def equal(first: Draws, second: Draws) -> bool:
    return all(torch.equal(getattr(first, entry.name), getattr(second, entry.name)) for entry in fields(Draws))


def cropped(picture: Pixels, rows: int, columns: int) -> Pixels:
    padded = np.pad(picture, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    return padded[PADDING + rows :, PADDING + columns :][:SIZE, :SIZE]


def test_without_augmentation_pictures_are_unchanged() -> None:
    images = pictures(5)
    assert torch.equal(augmented(images, drawn(5, recipe=STILL), STILL), images)


def test_a_flip_mirrors_left_and_right() -> None:
    images = pictures(3)
    flipped = augmented(images, draws(3, flip=torch.ones(3, dtype=torch.bool)), STILL)
    assert torch.equal(flipped, images.flip(2))


def test_a_shift_is_a_crop_of_the_picture_padded_by_reflection() -> None:
    images = pictures(len(SHIFTS))
    shifted = augmented(images, draws(len(SHIFTS), shift=torch.tensor(SHIFTS)), STILL)
    for before, after, (rows, columns) in zip(images.numpy(), shifted.numpy(), SHIFTS, strict=True):
        assert np.array_equal(after, cropped(before, rows, columns))


@pytest.mark.parametrize("side", [1, 2, 3, 4, 9])
def test_a_cutout_fills_a_square_that_is_cut_off_at_the_borders(side: int) -> None:
    images = pictures(len(PLACES))
    blanked = augmented(images, draws(len(PLACES), blank=torch.tensor(PLACES)), replace(STILL, cutout=side))
    for before, after, (row, column) in zip(images.numpy(), blanked.numpy(), PLACES, strict=True):
        top, left = row - side // 2, column - side // 2
        expected = before.copy()
        expected[max(0, top) : top + side, max(0, left) : left + side] = FILL
        assert np.array_equal(after, expected)


def test_flip_shift_and_cutout_go_together() -> None:
    images, chosen = pictures(50), drawn(50)
    result = augmented(images, chosen)
    for i, before in enumerate(images.numpy()):
        expected = cropped(np.flip(before, 1) if chosen.flip[i] else before, *chosen.shift[i].tolist()).copy()
        row, column = chosen.blank[i].tolist()
        expected[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = FILL
        assert np.array_equal(result[i].numpy(), expected)


def test_grey_pictures_are_augmented_like_colours() -> None:
    images, chosen = pictures(20), drawn(20)
    grey = augmented(images[..., :1], chosen)
    assert torch.equal(grey, augmented(images, chosen)[..., :1])


def test_every_picture_has_a_draw_of_its_own() -> None:
    same = pictures(1).expand(200, -1, -1, -1)
    results = augmented(same, drawn(200))
    assert len({picture.numpy().tobytes() for picture in results}) > 190


def test_draws_reach_every_allowed_value_and_no_other() -> None:
    chosen = drawn(2000)
    assert chosen.flip.unique().tolist() == [False, True]
    assert chosen.shift.unique().tolist() == list(range(-PADDING, PADDING + 1))
    assert chosen.blank.unique().tolist() == list(range(SIZE))


def test_rows_and_columns_are_drawn_apart() -> None:
    chosen = drawn(100)
    assert not torch.equal(chosen.shift[:, 0], chosen.shift[:, 1])
    assert not torch.equal(chosen.blank[:, 0], chosen.blank[:, 1])


def test_a_recipe_without_flips_draws_none() -> None:
    assert not drawn(500, recipe=replace(RECIPE, flip=False)).flip.any()


def test_the_same_seed_and_epoch_give_the_same_draws() -> None:
    assert equal(drawn(100, epoch_seed(3, 5)), drawn(100, epoch_seed(3, 5)))


@pytest.mark.parametrize(("seed", "epoch"), [(3, 6), (4, 5), (5, 3)])
def test_another_seed_or_epoch_gives_other_draws(seed: int, epoch: int) -> None:
    assert not equal(drawn(100, epoch_seed(3, 5)), drawn(100, epoch_seed(seed, epoch)))


def test_what_happens_to_a_picture_depends_on_neither_batch_nor_order() -> None:
    images, chosen = pictures(30), drawn(30)
    whole = augmented(images, chosen)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    for batch in order.split(7):
        assert torch.equal(augmented(images[batch], chosen.take(batch)), whole[batch])


def test_alternating_flips_show_both_sides_of_every_picture_in_two_epochs() -> None:
    first, second, third = (alternating_flip(500, seed=3, epoch=epoch) for epoch in (0, 1, 2))
    assert 200 < int(first.sum()) < 300
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)
    assert not torch.equal(alternating_flip(500, seed=4, epoch=0), first)


@pytest.mark.parametrize("box", [(0, 8, 0, 8), (2, 5, 3, 8), (0, 1, 7, 8), (4, 4, 0, 8), (0, 0, 0, 0)])
def test_cutmix_pastes_a_box_and_says_what_is_left(box: tuple[int, int, int, int]) -> None:
    images, others = pictures(3), pictures(6)[3:]
    mixed, kept = cutmix(images, others, torch.tensor([box] * 3))
    top, bottom, left, right = box
    expected = images.clone()
    expected[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    assert torch.equal(mixed, expected)
    assert kept.tolist() == [1 - (bottom - top) * (right - left) / 64] * 3


def test_each_picture_has_a_box_and_a_partner_of_its_own() -> None:
    chosen = drawn(2000, recipe=replace(RECIPE, cutmix=1.0))
    assert len(chosen.partner.unique()) > 1000
    assert len(chosen.box.unique(dim=0)) > 100
    assert bool((chosen.box[:, 0] <= chosen.box[:, 1]).all() and (chosen.box[:, 2] <= chosen.box[:, 3]).all())
    assert (int(chosen.box.min()), int(chosen.box.max())) == (0, SIZE)


def test_a_share_of_the_pictures_gets_a_box() -> None:
    lent = [(drawn(2000, recipe=replace(RECIPE, cutmix=share)).box > 0).any(dim=1).float().mean() for share in (0, 0.5)]
    assert lent[0] == 0
    assert 0.45 < lent[1] < 0.55


def test_what_a_box_takes_in_depends_on_its_area_alone() -> None:
    """The share of a picture that is lent is uniform but for what lies beyond the border (Yun et al. 2019)."""
    box = drawn(20_000, recipe=replace(RECIPE, cutmix=1.0)).box.float()
    inside = (box[:, 0] > 0) & (box[:, 1] < SIZE) & (box[:, 2] > 0) & (box[:, 3] < SIZE)
    sides = box[inside][:, 1] - box[inside][:, 0]
    assert bool(((sides - (box[inside][:, 3] - box[inside][:, 2])).abs() <= 1).all())
