"""Networks: their sizes are facts, their shapes follow classes, channels and pictures."""

from typing import Any

import pytest
import torch
from torch import nn

from training import networks
from training.layers import output_size
from training.summary import summarise

# The classic network and S0's need pictures or memory of their own.
NAMES = ["alexnet-32", "alexnet-bn", "compact", "lenet", "simple-cnn"]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    return layers(network, nn.Linear)


def pooling(network: nn.Module) -> list[nn.MaxPool2d]:
    return layers(network, nn.MaxPool2d)


def logits_shape(network: nn.Module, channels: int, size: int) -> tuple[int, ...]:
    with torch.inference_mode():
        return tuple(network.eval()(torch.zeros(2, channels, size, size)).shape)


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("alexnet-bn", {}, 2_091_274),
        ("compact", {}, 857_738),
        ("compact", {"batch_norm": False}, 856_714),
        ("alexnet-32-big", {}, 42_007_690),
        ("simple-cnn", {}, 296_130),
        ("lenet", {"channels": 1, "size": 28}, 61_706),
        ("alexnet", {"channels": 1, "size": 224}, 46_764_746),
        ("alexnet", {"classes": 1000, "size": 224, "padding": 2}, 62_378_344),
    ],
)
def test_a_network_has_the_documented_number_of_parameters(
    name: str, arguments: dict[str, Any], parameters: int
) -> None:
    with torch.device("meta"):
        assert count(networks.build(name, **{"classes": 10, **arguments})) == parameters


def test_padding_2_gives_the_classic_network_its_9216_features() -> None:
    with torch.device("meta"):
        classic = [networks.build("alexnet", classes=10, size=224, padding=padding) for padding in (1, 2)]
    assert [linear_layers(network)[0].in_features for network in classic] == [6_400, 9_216]


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid)])
def test_alexnet_bn_takes_its_activation_by_name(activation: str, kind: type[nn.Module]) -> None:
    network = networks.build("alexnet-bn", classes=10, activation=activation)
    assert len(layers(network, kind)) == 7


def test_alexnet_bn_without_batch_norm_has_no_norm() -> None:
    network = networks.build("alexnet-bn", classes=10, batch_norm=False)
    assert not layers(network, nn.BatchNorm2d) + layers(network, nn.BatchNorm1d)


def test_pooling_without_overlap_has_strides_as_long_as_its_windows() -> None:
    pools = pooling(networks.build("alexnet-bn", classes=10, overlapping=False))
    assert [pool.kernel_size == pool.stride for pool in pools] == [True, True, True]
    assert [p.kernel_size == p.stride for p in pooling(networks.build("alexnet-bn", classes=10))] == [
        True,
        False,
        False,
    ]


def test_kernels_of_the_first_convolutions_can_be_chosen_and_keep_the_size() -> None:
    network = networks.build("alexnet-bn", classes=10, kernels=(5, 3))
    sizes = [layer.kernel_size for layer in layers(network, nn.Conv2d)[:2]]
    assert sizes == [(5, 5), (3, 3)]
    assert linear_layers(network)[0].in_features == 128 * 6 * 6


def test_dropout_of_compact_follows_its_blocks_and_hidden_layers() -> None:
    network = networks.build("compact", classes=10, dropout=(0.3, 0.3, 0.0, 0.1), linear_dropout=0.5)
    assert [layer.p for layer in layers(network, nn.Dropout)] == [0.3, 0.3, 0.1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("alexnet-bn", {"activation": "gelu"}, "unknown activation 'gelu'; there are: relu, tanh, sigmoid"),
        ("alexnet-bn", {"kernels": (3, 4)}, "two odd numbers"),
        ("compact", {"dropout": (0.5,)}, "four rates, not 1"),
        ("alexnet-32", {"widths": (64, 64, 64, 64)}, "five widths, five kernels, five pools and two hidden"),
        ("alexnet-32", {"hidden": (64,)}, "five widths, five kernels, five pools and two hidden"),
        ("alexnet-32", {"kernels": (3, 3, 4, 3, 3)}, "odd numbers, not \\(3, 3, 4, 3, 3\\)"),
    ],
)
def test_an_impossible_argument_is_refused_with_the_reason(name: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        networks.build(name, classes=10, **arguments)


def test_the_second_convolution_of_alexnet_bn_has_307_328_parameters() -> None:
    assert count(layers(networks.build("alexnet-bn", classes=10), nn.Conv2d)[1]) == 307_328


def test_alexnet_bn_normalises_after_every_layer_but_the_last() -> None:
    network = networks.build("alexnet-bn", classes=10)
    assert len(layers(network, nn.Conv2d)) == len(layers(network, nn.BatchNorm2d)) == 5
    assert len(layers(network, nn.Linear)) == len(layers(network, nn.BatchNorm1d)) + 1 == 3


def test_alexnet_32_has_alexnets_shape() -> None:
    network = networks.build("alexnet-32", classes=10)
    assert len(layers(network, nn.Conv2d)) == len(layers(network, nn.BatchNorm2d)) == 5
    assert len(layers(network, nn.Linear)) == len(layers(network, nn.BatchNorm1d)) + 1 == 3
    assert len(layers(network, nn.ReLU)) == 7
    known = (nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear)
    assert {type(module) for module in network.modules()} <= set(known)


def test_alexnet_32_keeps_to_the_limits_of_its_class() -> None:
    summary = summarise("alexnet-32")
    assert (summary.parameters, summary.multiply_adds) == (3_250_426, 186_265_978)
    assert summary.parameters <= 4_500_000
    assert summary.multiply_adds <= 200_000_000


def test_alexnet_32_pools_where_it_is_asked_to() -> None:
    network = networks.build("alexnet-32", classes=10, pools=(1, 2, 2, 1, 4), widths=(8, 8, 8, 8, 24))
    assert [pool.kernel_size for pool in pooling(network)] == [2, 2, 4]
    assert linear_layers(network)[0].in_features == 24 * 2 * 2


def test_dropout_is_off_unless_asked_for() -> None:
    assert not layers(networks.build("alexnet-bn", classes=10), nn.Dropout)


def test_dropout_adds_no_parameters() -> None:
    network = networks.build("alexnet-bn", classes=10, dropout=0.5)
    assert len(layers(network, nn.Dropout)) == 2
    assert count(network) == 2_091_274


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("classes", "channels", "size"), [(10, 3, 32), (2, 3, 32), (37, 1, 32), (5, 3, 64), (3, 1, 45)]
)
def test_a_network_gives_one_logit_a_class(name: str, classes: int, channels: int, size: int) -> None:
    network = networks.build(name, classes=classes, channels=channels, size=size)
    assert logits_shape(network, channels, size) == (2, classes)


@pytest.mark.parametrize(("name", "smallest"), [("alexnet-bn", 12), ("compact", 20)])
def test_pictures_are_refused_exactly_where_a_layer_would_have_no_output(name: str, smallest: int) -> None:
    assert logits_shape(networks.build(name, classes=4, size=smallest), 3, smallest) == (2, 4)
    with pytest.raises(ValueError, match=f"{smallest - 1}x{smallest - 1} are too small"):
        networks.build(name, classes=4, size=smallest - 1)


def test_an_unknown_network_is_refused_with_the_valid_names() -> None:
    with pytest.raises(
        ValueError, match=r"unknown network 'vgg'; there are: alexnet, alexnet-32, alexnet-32-big, alexnet-bn"
    ):
        networks.build("vgg", classes=10)


@pytest.mark.parametrize(("name", "valid"), [("alexnet-bn", "dropout"), ("compact", "batch_norm")])
def test_an_unknown_argument_is_refused_with_the_valid_ones(name: str, valid: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no argument depth; it takes: .*{valid}"):
        networks.build(name, classes=10, depth=3)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(32, 3, 1, 0), (32, 3, 1, 1), (15, 2, 2, 0), (224, 11, 4, 2)],
)
def test_output_size_is_what_a_convolution_puts_out(size: int, kernel: int, stride: int, padding: int) -> None:
    put_out = nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, size, size))
    assert output_size(size, kernel, stride, padding) == put_out.shape[-1]
