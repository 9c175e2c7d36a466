"""Every network by name: `build(name, classes=..., channels=..., size=...)` returns a module that gives logits.

Shapes: float32 [N, channels, size, size] in, float32 logits [N, classes] out.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import nn


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Side of what a convolution or pooling puts out: floor((in - k + 2p) / s) + 1 (document S1)."""
    return (size - kernel + 2 * padding) // stride + 1


def build(name: str, *, classes: int, channels: int = 3, size: int = 32, **arguments: Any) -> nn.Module:
    """Build network `name` for pictures of `size` x `size` with `channels` channels.

    Raises ValueError for an unknown name or argument, or pictures too small for the network.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; there are: {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    known = set(signature(network).parameters) - {"classes", "channels", "size"}
    if unknown := sorted(set(arguments) - known):
        raise ValueError(f"{name} has no argument {', '.join(unknown)}; it takes: {', '.join(sorted(known)) or 'none'}")
    return network(classes=classes, channels=channels, size=size, **arguments)


def alexnet_bn(*, classes: int, channels: int, size: int, dropout: float = 0.0) -> nn.Sequential:
    """S4: five convolutions, three linear layers, batch norm before every ReLU; 2,091,274 parameters for CIFAR-10."""
    features = nn.Sequential(
        *_convolution(channels, 96, kernel=3, padding=1),
        nn.MaxPool2d(2, stride=2),
        *_convolution(96, 128, kernel=5, padding=2),
        nn.MaxPool2d(2, stride=1),
        *_convolution(128, 256, kernel=3),
        *_convolution(256, 256, kernel=3, padding=1),
        *_convolution(256, 128, kernel=3, padding=1),
        nn.MaxPool2d(3, stride=2),
    )
    head = nn.Sequential(
        nn.Flatten(),
        *_linear(_flat_features(features, size), 128, dropout=dropout),
        *_linear(128, 64, dropout=dropout),
        nn.Linear(64, classes),
    )
    return nn.Sequential(features, head)


def compact(*, classes: int, channels: int, size: int, batch_norm: bool = True) -> nn.Sequential:
    """S3: four convolutions, each with batch norm, and linear layers 384-192; 857,738 parameters for CIFAR-10."""
    features = nn.Sequential(
        *_convolution(channels, 64, kernel=3, batch_norm=batch_norm),
        nn.MaxPool2d(2, stride=2),
        *_convolution(64, 128, kernel=3, batch_norm=batch_norm),
        nn.MaxPool2d(3, stride=2),
        *_convolution(128, 256, kernel=3, batch_norm=batch_norm),
        *_convolution(256, 64, kernel=1, batch_norm=batch_norm),
    )
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(_flat_features(features, size), 384),
        nn.ReLU(),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Linear(192, classes),
    )
    return nn.Sequential(features, head)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"alexnet-bn": alexnet_bn, "compact": compact}


def _convolution(
    inputs: int, outputs: int, *, kernel: int, padding: int = 0, batch_norm: bool = True
) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), *norm, nn.ReLU()]


def _linear(inputs: int, outputs: int, *, dropout: float) -> list[nn.Module]:
    drop = [nn.Dropout(dropout)] if dropout else []
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), *drop]


def _flat_features(features: nn.Sequential, size: int) -> int:
    """Number of values that `features` puts out for one picture of `size` x `size`."""
    side, channels = size, 0
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            side = output_size(side, layer.kernel_size[0], layer.stride[0], int(layer.padding[0]))
            channels = layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            assert isinstance(layer.kernel_size, int)
            assert isinstance(layer.stride, int)
            side = output_size(side, layer.kernel_size, layer.stride)
        if side < 1:
            raise ValueError(f"pictures of {size}x{size} are too small for this network: a layer would have no output")
    return channels * side * side
