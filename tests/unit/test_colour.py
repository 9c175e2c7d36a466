"""Colour jitter and fancy PCA, compared with the same arithmetic in numpy; what is not asked for changes nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data import colour
from training.data.augment import Draws, augment, draw
from training.data.colour import LUMA, YIQ, Palette, recolour
from training.epoch import epoch_seed
from training.recipe import Recipe, Stage

CPU = torch.device("cpu")
PLAIN = Recipe(network="compact", stages=(Stage(1, 32, 0.1),), flip=False, crop_padding=0, cutout=0)
JITTER = replace(PLAIN, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1, fancy_pca=0.1)
NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
FACTORS = list(NEUTRAL)


def noise(count: int, channels: int = 3, low: int = 0, high: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (count, 8, 8, channels), generator=generator, dtype=torch.uint8)


def correlated(count: int) -> Tensor:
    """Pictures whose channels vary together, each by another amount, so that no two eigenvalues are equal."""
    mixed = noise(count).float() @ torch.tensor([[0.7, 0.5, 0.1], [0.1, 0.3, 0.2], [0.0, 0.1, 0.4]])
    return mixed.clamp(0, 255).to(torch.uint8)


def grey(count: int) -> Tensor:
    """Colour pictures without colour."""
    return noise(count, channels=1).expand(-1, -1, -1, 3)


def changed(images: Tensor, components: Tensor | None = None, **factors: float) -> Tensor:
    """`images` with the same factors for every picture."""
    count, channels = len(images), images.shape[3]
    chosen = NEUTRAL | factors
    if components is None:
        components = torch.zeros(count, channels)
    row = torch.tensor([chosen[name] for name in FACTORS])
    return recolour(images, row.expand(count, 4), components, colour.palette(correlated(20)[..., :channels], CPU))


def luma(images: Tensor) -> Tensor:
    return images.double() @ torch.tensor(LUMA, dtype=torch.float64)


def furthest(images: Tensor, expected: Tensor) -> float:
    """The largest difference, in steps of 1/255."""
    return float((images.double() - expected.double()).abs().max())


def drawn(recipe: Recipe = JITTER, seed: int = 0, count: int = 50, channels: int = 3) -> Draws:
    return draw(count, 8, channels, recipe, torch.Generator().manual_seed(seed))


def reference_axes(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors (columns) of the covariance of colours in 0..1."""
    values = images.numpy().reshape(-1, images.shape[3]) / 255
    eigenvalues, eigenvectors = np.linalg.eigh(np.cov(values, rowvar=False, bias=True))
    return eigenvalues, eigenvectors


def test_factors_of_one_and_no_turn_change_nothing() -> None:
    images = noise(20)
    assert torch.equal(changed(images), images)


def test_brightness_scales_every_value() -> None:
    images = noise(20, high=128)
    assert torch.equal(changed(2 * images, brightness=0.5), images)


def test_values_beyond_white_become_white() -> None:
    images = noise(20)
    assert torch.equal(changed(images, brightness=2.0), (images.int() * 2).clamp(max=255).to(torch.uint8))


def test_contrast_scales_the_distance_from_the_picture_s_mean_grey() -> None:
    images = noise(20, low=64, high=192)
    mean = luma(images).mean(dim=(1, 2))[:, None, None, None]
    assert furthest(changed(images, contrast=0.5), mean + 0.5 * (images - mean)) <= 0.501


def test_no_contrast_leaves_one_grey() -> None:
    flat = changed(noise(1), contrast=0.0)
    assert len(flat.unique()) == 1


def test_contrast_is_applied_to_the_brightened_picture() -> None:
    images = noise(20, low=64, high=128)
    bright = 1.5 * images.double()
    mean = luma(bright).mean(dim=(1, 2))[:, None, None, None]
    assert furthest(changed(images, brightness=1.5, contrast=0.5), mean + 0.5 * (bright - mean)) <= 0.501


def test_no_saturation_leaves_the_grey_of_the_luma() -> None:
    images = noise(20)
    assert furthest(changed(images, saturation=0.0), luma(images)[..., None]) <= 0.501


def test_saturation_scales_the_distance_from_each_pixel_s_grey() -> None:
    images = noise(20, low=96, high=160)
    centre = luma(images)[..., None]
    assert furthest(changed(images, saturation=1.5), centre + 1.5 * (images - centre)) <= 0.501


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.2, 0.5])
def test_a_turn_of_the_colour_circle_keeps_greys(turns: float) -> None:
    assert torch.equal(changed(grey(20), hue=turns), grey(20))


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.2, 0.5])
def test_a_turn_of_the_colour_circle_keeps_the_luma(turns: float) -> None:
    images = noise(20, low=112, high=144)
    assert furthest(luma(changed(images, hue=turns)), luma(images)) <= 0.501
    assert furthest(changed(images, hue=turns), images) > 5


@pytest.mark.parametrize("turns", [-1.0, 1.0])
def test_a_whole_turn_changes_nothing(turns: float) -> None:
    images = noise(20)
    assert torch.equal(changed(images, hue=turns), images)


@pytest.mark.parametrize("turns", [-0.3, 0.1, 0.25])
def test_a_turn_rotates_the_colour_plane(turns: float) -> None:
    images = noise(20, low=112, high=144)
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    expected = images.numpy() @ (np.linalg.inv(YIQ) @ rotation @ YIQ).T
    assert furthest(changed(images, hue=turns), torch.from_numpy(expected)) <= 0.501


def test_half_a_turn_mirrors_every_pixel_at_its_grey() -> None:
    images = noise(20, low=96, high=160)
    centre = luma(images)[..., None]
    assert furthest(changed(images, hue=0.5), 2 * centre - images) <= 0.501


def test_the_axes_are_the_eigenvectors_of_the_colours_covariance_times_its_eigenvalues() -> None:
    images = correlated(200)
    eigenvalues, eigenvectors = reference_axes(images)
    axes = colour.palette(images, CPU).axes.numpy()
    for axis, eigenvalue, eigenvector in zip(axes, eigenvalues, eigenvectors.T, strict=True):
        sign = np.sign(axis @ eigenvector)
        assert axis == pytest.approx(sign * eigenvalue * eigenvector, rel=1e-4, abs=1e-8)


def test_the_mean_colour_is_that_of_every_picture() -> None:
    images = noise(2100)
    mean = images.numpy().reshape(-1, 3).mean(axis=0)
    assert colour.palette(images, CPU).mean.tolist() == mean.round().tolist()


def test_fancy_pca_adds_steps_along_the_axes() -> None:
    images, components = noise(20, low=64, high=192), drawn(count=20).components
    shift = 255 * components @ colour.palette(correlated(20), CPU).axes
    assert furthest(changed(images, components), images + shift[:, None, None]) <= 0.501


def test_fancy_pca_comes_after_the_jitter() -> None:
    images, components = noise(20, low=64, high=192), drawn(count=20).components
    shift = 255 * components @ colour.palette(correlated(20), CPU).axes
    assert furthest(changed(images, components, brightness=0.5), images * 0.5 + shift[:, None, None]) <= 0.501


@pytest.mark.parametrize("factors", [{"saturation": 0.0}, {"hue": 0.3}])
def test_grey_pictures_have_neither_saturation_nor_hue(factors: dict[str, float]) -> None:
    images = noise(20, channels=1)
    assert torch.equal(changed(images, None, **factors), images)


def test_grey_pictures_have_brightness_and_contrast() -> None:
    images = noise(20, channels=1)
    mean = images.double().mean(dim=(1, 2, 3), keepdim=True)
    assert furthest(changed(images, brightness=0.8, contrast=0.5), 0.8 * (mean + 0.5 * (images - mean))) <= 0.501


def test_grey_pictures_move_along_their_one_axis() -> None:
    images = noise(20, channels=1, low=64, high=192)
    variance = images.numpy().var() / 255**2
    palette = colour.palette(images, CPU)
    moved = recolour(images, torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(20, 4), torch.ones(20, 1), palette)
    assert furthest(moved, images + palette.axes.sign() * 255 * variance) <= 0.501


def test_every_picture_has_factors_of_its_own() -> None:
    same = noise(1).expand(50, -1, -1, -1)
    results = augment(same, drawn(), JITTER, colour.palette(same, CPU))
    assert len({picture.numpy().tobytes() for picture in results}) == 50


def test_colours_change_before_the_square_is_blanked() -> None:
    images, recipe = noise(5), replace(JITTER, cutout=16)
    palette: Palette = colour.palette(images, CPU)
    assert torch.equal(augment(images, drawn(recipe, count=5), recipe, palette), palette.mean.expand_as(images))


@pytest.mark.parametrize(("name", "centre"), list(NEUTRAL.items()))
def test_factors_are_drawn_evenly_around_the_neutral_one(name: str, centre: float) -> None:
    factors = drawn(PLAIN.changed({name: 0.25}), count=4000).factors
    column = factors[:, FACTORS.index(name)]
    assert (float(column.min()), float(column.max())) == pytest.approx((centre - 0.25, centre + 0.25), abs=1e-3)
    assert float(column.mean()) == pytest.approx(centre, abs=0.01)
    others = [number for number in range(4) if number != FACTORS.index(name)]
    assert factors[:, others].unique(dim=0).tolist() == [[list(NEUTRAL.values())[number] for number in others]]


def test_components_are_drawn_with_the_deviation_of_the_recipe() -> None:
    assert float(drawn(count=4000).components.std()) == pytest.approx(0.1, rel=0.03)


def test_a_recipe_without_colour_draws_none() -> None:
    found = drawn(PLAIN)
    assert found.factors.unique(dim=0).tolist() == [[1.0, 1.0, 1.0, 0.0]]
    assert not found.components.any()


@pytest.mark.parametrize(("seed", "epoch"), [(3, 6), (4, 5)])
def test_colours_depend_on_seed_and_epoch(seed: int, epoch: int) -> None:
    first, again, other = (drawn(seed=epoch_seed(*pair)) for pair in ((3, 5), (3, 5), (seed, epoch)))
    assert torch.equal(first.factors, again.factors)
    assert torch.equal(first.components, again.components)
    assert not torch.equal(first.factors, other.factors)
    assert not torch.equal(first.components, other.components)


@pytest.mark.parametrize("change", [{"flip": True}, {"crop_padding": 4}, {"cutout": 8}])
def test_colours_do_not_depend_on_what_else_a_recipe_asks_for(change: dict[str, int]) -> None:
    assert torch.equal(drawn(JITTER.changed(change)).factors, drawn().factors)


def test_a_picture_s_colours_depend_on_neither_batch_nor_order() -> None:
    images, chosen = noise(50), drawn()
    palette = colour.palette(images, CPU)
    whole = augment(images, chosen, JITTER, palette)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    for batch in order.split(7):
        assert torch.equal(augment(images[batch], chosen.take(batch), JITTER, palette), whole[batch])
