"""The layers that the networks are made of, and the sizes of what they put out."""

from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Side of what a convolution or pooling puts out: floor((in - k + 2p) / s) + 1 (S1)."""
    return (size - kernel + 2 * padding) // stride + 1


def convolution(
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    batch_norm: bool = False,
    activation: str = "relu",
) -> list[nn.Module]:
    """A convolution, its norm where one is wanted, and its activation."""
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), *norm, _activation(activation)]


def with_head(
    features: nn.Sequential,
    size: int,
    hidden: Sequence[int],
    classes: int,
    *,
    dropout: float = 0.0,
    batch_norm: bool = False,
    activation: str = "relu",
) -> nn.Sequential:
    """`features` and the linear layers after them: `hidden` sizes, each with its activation, then the logits."""
    head: list[nn.Module] = [nn.Flatten()]
    inputs = _flat_features(features, size)
    for outputs in hidden:
        norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
        head += [nn.Linear(inputs, outputs), *norm, _activation(activation), *dropping(dropout)]
        inputs = outputs
    return nn.Sequential(features, nn.Sequential(*head, nn.Linear(inputs, classes)))


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; there are: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def dropping(rate: float) -> list[nn.Module]:
    """Dropout at `rate`, or nothing. Raises ValueError outside of [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be in [0, 1), not {rate}")
    return [nn.Dropout(rate)] if rate else []


def side_after(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, side: int) -> tuple[int, int, int, int]:
    """Side of what a layer puts out for a picture with `side`, and its kernel, stride and padding."""
    # PyTorch keeps a convolution's sizes as pairs and a pooling's as numbers.
    kernel, stride, padding = (
        int(value[0] if isinstance(value, tuple) else value)
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    return output_size(side, kernel, stride, padding), kernel, stride, padding


def _flat_features(features: nn.Sequential, size: int) -> int:
    """Number of values that `features` puts out for one picture of `size` x `size`."""
    side, channels = size, 0
    for layer in features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            side = side_after(layer, side)[0]
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
        if side < 1:
            raise ValueError(f"pictures of {size}x{size} are too small for this network: a layer would have no output")
    return channels * side * side
