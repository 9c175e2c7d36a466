"""Channels of like ranges: the same answers from a network that 8 bits can tell better."""

from typing import Any

import pytest
import torch
from torch import nn

from export import equalising, parity
from training import networks
from training.classifier import Classifier

IMAGES = parity.seeded_noise(70, 32, 3, seed=4)


def classifier(name: str = "compact", **arguments: Any) -> Classifier:
    """A network with random weights and norms, some channels of which are far larger than others."""
    torch.manual_seed(1)
    network = networks.build(name, classes=3, size=32, channels=3, **arguments)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            assert norm.running_var is not None
            nn.init.uniform_(norm.weight, 0.05, 3)
            nn.init.normal_(norm.bias, std=0.3)
            nn.init.uniform_(norm.running_var, 0.2, 2)
    return Classifier(network, mean=[0.5] * 3, std=[0.25] * 3, temperature=1.0).eval()


def ranges(of: Classifier) -> list[torch.Tensor]:
    """By ReLU the largest value of every channel."""
    found: list[torch.Tensor] = []
    for layer in of.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, output: found.append(output.movedim(1, 0).flatten(1).amax(dim=1)))
    of(torch.from_numpy(IMAGES))
    return found


SMALL = {"widths": (24, 32, 32, 32, 32), "hidden": (32, 16)}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compact", {}),
        ("compact", {"batch_norm": False, "linear_dropout": 0.5}),
        ("simple-cnn", {}),
        ("alexnet-32", SMALL),
    ],
    ids=["norms", "no norms", "one convolution", "norms of the linear layers too"],
)
@torch.no_grad()
def test_a_network_gives_the_same_logits_with_channels_that_differ_less(name: str, arguments: dict[str, Any]) -> None:
    before = classifier(name, **arguments)
    expected = before(torch.from_numpy(IMAGES))[0]
    after = equalising.equalised(before, IMAGES)
    assert torch.allclose(after(torch.from_numpy(IMAGES))[0], expected, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(before(torch.from_numpy(IMAGES))[0], expected), "the original stays as it was"
    for was, now in zip(ranges(before), ranges(after), strict=True):
        part_was, part_now = was / was.max(), now / now.max()
        seen = part_was > equalising.SMALLEST
        assert torch.allclose(part_now[seen], part_was[seen].sqrt(), rtol=1e-4)


@torch.no_grad()
def test_what_is_no_relu_passes_no_factor_on() -> None:
    network = networks.build("lenet", classes=3, size=32, channels=3)
    before = Classifier(network, mean=[0.5] * 3, std=[0.25] * 3, temperature=1.0).eval()
    after = equalising.equalised(before, IMAGES)
    assert all(torch.equal(one, other) for one, other in zip(before.parameters(), after.parameters(), strict=True))


@torch.no_grad()
def test_a_layer_that_is_dead_leaves_finite_weights() -> None:
    before = classifier("simple-cnn")
    for layer in before.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            layer.weight.zero_()
            nn.init.constant_(layer.bias, -1)
    after = equalising.equalised(before, IMAGES)
    assert all(bool(values.isfinite().all()) for values in after.parameters())
