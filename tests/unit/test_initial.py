"""A first convolution that whitens: what it puts out for the pictures it was made from is uncorrelated."""

import pytest
import torch
from torch import Tensor, nn

from tests.unit.runs import RECIPE
from tests.unit.trainees import build, run_epochs, split
from training import initial
from training.classifier import Preprocess

PREPROCESS = Preprocess([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])


def pictures(count: int = 400, side: int = 8) -> Tensor:
    """Smooth pictures: neighbours are alike, as in photographs."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 3, side // 2, side // 2, generator=generator)
    smooth = nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=generator)
    return (230 * smooth + 255 * 0.1 * noise).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def convolution(filters: int) -> nn.Conv2d:
    return nn.Conv2d(3, filters, 3, bias=False)


def outputs(module: nn.Module, images: Tensor) -> Tensor:
    """What the first convolution gives at every place: [places, filters]."""
    with torch.inference_mode():
        found: Tensor = module(PREPROCESS(images)).movedim(1, 3).flatten(end_dim=2)
    return found


def test_a_whitened_convolution_gives_uncorrelated_outputs_of_variance_one() -> None:
    module = convolution(54)
    initial.whiten_first(module, PREPROCESS, pictures())
    found = outputs(module, pictures())[:, ::2].double()
    products = found.T @ found / len(found)
    off_diagonal = products - torch.diag(products.diagonal())
    assert float(off_diagonal.abs().max()) < 1e-3
    strongest = products.diagonal()[:9]
    torch.testing.assert_close(strongest, torch.ones_like(strongest), atol=0.02, rtol=0)


def test_pictures_that_come_class_by_class_are_all_looked_at() -> None:
    dark = pictures(2 * initial.PICTURES)
    dark[: initial.PICTURES] //= 4
    module = convolution(54)
    initial.whiten_first(module, PREPROCESS, dark)
    strongest = (outputs(module, dark)[:, ::2].double() ** 2).mean(dim=0)[:18]  # the last ones are held back
    torch.testing.assert_close(strongest, torch.ones_like(strongest), atol=0.1, rtol=0)


def test_every_filter_has_an_opposite_so_that_a_relu_loses_nothing() -> None:
    module = convolution(20)
    initial.whiten_first(module, PREPROCESS, pictures())
    assert torch.equal(module.weight[::2], -module.weight[1::2])


def test_the_strongest_axes_come_first() -> None:
    module = convolution(54)
    initial.whiten_first(module, PREPROCESS, pictures())
    norms = module.weight.flatten(1).norm(dim=1)[::2]  # one over the deviation along the axis
    assert torch.equal(norms, norms.sort().values)


@pytest.mark.parametrize(("filters", "whitened"), [(7, 6), (54, 54), (60, 54)])
def test_filters_beyond_the_axes_keep_their_random_weights(filters: int, whitened: int) -> None:
    module = convolution(filters)
    before = module.weight.detach().clone()
    initial.whiten_first(module, PREPROCESS, pictures())
    changed = (module.weight != before).flatten(1).any(dim=1)
    assert changed.tolist() == [True] * whitened + [False] * (filters - whitened)


@pytest.mark.parametrize(("choice", "moves"), [("random", True), ("whitened", True), ("frozen", False)])
def test_a_frozen_first_convolution_stays_as_it_was_and_all_else_learns(choice: str, moves: bool) -> None:
    trained = build(RECIPE.changed({"first_convolution": choice}), side=20)
    before = {name: tensor.detach().clone() for name, tensor in trained.network.named_parameters()}
    run_epochs(trained, 1, split(40, 20))
    moved = [not torch.equal(before[name], now) for name, now in trained.network.named_parameters()]
    assert moved[:2] == [moves, moves]  # weight and bias of the first convolution
    assert all(moved[2:])


def test_a_recipe_that_whitens_starts_from_the_pictures_to_fit() -> None:
    plain, whitened = (build(RECIPE.changed({"first_convolution": choice}), side=20) for choice in ("random", "frozen"))
    expected = plain.network
    initial.whiten_first(expected, plain.preprocess, split(30, 20).images)
    for one, other in zip(expected.parameters(), whitened.network.parameters(), strict=True):
        assert torch.equal(one, other)
