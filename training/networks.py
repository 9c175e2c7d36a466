"""Every network by name: `build(name, classes=..., channels=..., size=...)` returns a module that gives logits.

Shapes: float32 [N, channels, size, size] in, float32 logits [N, classes] out. The letters S0 to S4 name the five
documents that describe the networks.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from torch import nn

from training.layers import convolution, dropping, with_head


def build(name: str, *, classes: int, channels: int = 3, size: int = 32, **arguments: Any) -> nn.Module:
    """Build network `name` for pictures of `size` x `size` with `channels` channels.

    Raises ValueError for an unknown name, argument or value, or pictures too small for the network.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; there are: {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    known = set(signature(network).parameters) - {"classes", "channels", "size"}
    if unknown := sorted(set(arguments) - known):
        raise ValueError(f"{name} has no argument {', '.join(unknown)}; it takes: {', '.join(sorted(known)) or 'none'}")
    return network(classes=classes, channels=channels, size=size, **arguments)


def alexnet(*, classes: int, channels: int, size: int, padding: int = 1, dropout: float = 0.5) -> nn.Sequential:
    """The classic network for 224x224 pictures.

    S2: padding 1 in the first convolution, 46,764,746 parameters for one channel and ten classes. S0: padding 2,
    62,378,344 for three channels and a thousand classes.
    """
    if padding not in (1, 2):
        raise ValueError(f"padding must be 1 (S2) or 2 (S0), not {padding}")
    features = nn.Sequential(
        *convolution(channels, 96, kernel=11, stride=4, padding=padding),
        nn.MaxPool2d(3, stride=2),
        *convolution(96, 256, kernel=5, padding=2),
        nn.MaxPool2d(3, stride=2),
        *convolution(256, 384, kernel=3, padding=1),
        *convolution(384, 384, kernel=3, padding=1),
        *convolution(384, 256, kernel=3, padding=1),
        nn.MaxPool2d(3, stride=2),
    )
    return with_head(features, size, (4096, 4096), classes, dropout=dropout)


def alexnet_32_big(*, classes: int, channels: int, size: int, dropout: float = 0.9) -> nn.Sequential:
    """S0's re-cut of AlexNet for 32x32 pictures; 42,007,690 parameters for CIFAR-10."""
    features = nn.Sequential(
        *convolution(channels, 96, kernel=5),
        *convolution(96, 256, kernel=2),
        *convolution(256, 384, kernel=3, stride=2),
        *convolution(384, 384, kernel=3, padding=1),
        *convolution(384, 256, kernel=3, padding=1),
        nn.MaxPool2d(3, stride=2),
    )
    return with_head(features, size, (4096, 256), classes, dropout=dropout)


def simple_cnn(*, classes: int, channels: int, size: int) -> nn.Sequential:
    """S1: one convolution and two linear layers; 296,130 parameters for CIFAR-10."""
    features = nn.Sequential(*convolution(channels, 18, kernel=3, padding=1), nn.MaxPool2d(2, stride=2))
    return with_head(features, size, (64,), classes)


def lenet(*, classes: int, channels: int, size: int) -> nn.Sequential:
    """S2's LeNet with sigmoids; 61,706 parameters for 28x28 grey pictures and ten classes."""
    features = nn.Sequential(
        *convolution(channels, 6, kernel=5, padding=2, activation="sigmoid"),
        nn.AvgPool2d(2, stride=2),
        *convolution(6, 16, kernel=5, activation="sigmoid"),
        nn.AvgPool2d(2, stride=2),
    )
    return with_head(features, size, (120, 84), classes, activation="sigmoid")


def compact(
    *,
    classes: int,
    channels: int,
    size: int,
    batch_norm: bool = True,
    dropout: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    linear_dropout: float = 0.0,
) -> nn.Sequential:
    """S3: four convolutions and linear layers 384-192; 857,738 parameters for CIFAR-10, 856,714 without batch norm.

    `dropout` gives one rate for each block of convolution and pooling, `linear_dropout` that of the hidden linear
    layers.
    """
    if len(dropout) != 4:
        raise ValueError(f"compact has four convolutions, so dropout needs four rates, not {len(dropout)}")
    features = nn.Sequential(
        *convolution(channels, 64, kernel=3, batch_norm=batch_norm),
        nn.MaxPool2d(2, stride=2),
        *dropping(dropout[0]),
        *convolution(64, 128, kernel=3, batch_norm=batch_norm),
        nn.MaxPool2d(3, stride=2),
        *dropping(dropout[1]),
        *convolution(128, 256, kernel=3, batch_norm=batch_norm),
        *dropping(dropout[2]),
        *convolution(256, 64, kernel=1, batch_norm=batch_norm),
        *dropping(dropout[3]),
    )
    return with_head(features, size, (384, 192), classes, dropout=linear_dropout)


def alexnet_bn(
    *,
    classes: int,
    channels: int,
    size: int,
    batch_norm: bool = True,
    dropout: float = 0.0,
    activation: str = "relu",
    overlapping: bool = True,
    kernels: Sequence[int] = (3, 5),
) -> nn.Sequential:
    """S4: five convolutions, three linear layers, batch norm before every ReLU; 2,091,274 parameters for CIFAR-10.

    `dropout` is the rate of the hidden linear layers, `overlapping` whether pooling windows overlap, `kernels` the
    (odd) sizes of the first two convolutions' kernels, padded so that they keep the size of a picture.
    """
    if len(kernels) != 2 or any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels must be two odd numbers, not {tuple(kernels)}")

    def normed(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
        return convolution(
            inputs, outputs, kernel=kernel, padding=padding, batch_norm=batch_norm, activation=activation
        )

    features = nn.Sequential(
        *normed(channels, 96, kernels[0], kernels[0] // 2),
        nn.MaxPool2d(2, stride=2),
        *normed(96, 128, kernels[1], kernels[1] // 2),
        nn.MaxPool2d(2, stride=1 if overlapping else 2),
        *normed(128, 256, 3, 0),
        *normed(256, 256, 3, 1),
        *normed(256, 128, 3, 1),
        nn.MaxPool2d(3 if overlapping else 2, stride=2),
    )
    return with_head(features, size, (128, 64), classes, dropout=dropout, batch_norm=batch_norm, activation=activation)


def alexnet_32(
    *,
    classes: int,
    channels: int,
    size: int,
    widths: Sequence[int] = (24, 96, 256, 320, 320),
    kernels: Sequence[int] = (3, 3, 3, 3, 3),
    pools: Sequence[int] = (1, 2, 2, 1, 2),
    hidden: Sequence[int] = (256, 128),
    dropout: float = 0.0,
) -> nn.Sequential:
    """The flagship: five convolutions, three linear layers, batch norm before every ReLU; 3,250,426 parameters and
    186,265,978 multiply-adds a picture for CIFAR-10.

    `widths`, `kernels` (odd) and `pools` give every convolution its channels, its kernel's side and the side of the
    pooling window after it (1: none).
    """
    if not len(widths) == len(kernels) == len(pools) == 5 or len(hidden) != 2:
        raise ValueError("alexnet-32 has five widths, five kernels, five pools and two hidden linear layers")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels must be odd numbers, not {tuple(kernels)}")
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, pool in zip((channels, *widths), widths, kernels, pools, strict=False):
        layers += convolution(inputs, outputs, kernel=kernel, padding=kernel // 2, batch_norm=True)
        layers += [nn.MaxPool2d(pool)] if pool > 1 else []
    return with_head(nn.Sequential(*layers), size, hidden, classes, dropout=dropout, batch_norm=True)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "alexnet-32": alexnet_32,
    "alexnet-32-big": alexnet_32_big,
    "alexnet-bn": alexnet_bn,
    "compact": compact,
    "lenet": lenet,
    "simple-cnn": simple_cnn,
}
# Channels and side of the pictures that S2 feeds its networks; the others take CIFAR-10's, 3 and 32.
INPUTS: dict[str, tuple[int, int]] = {"alexnet": (1, 224), "lenet": (1, 28)}
