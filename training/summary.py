"""A network on one page: layers, output sizes, parameters and multiply-adds, counted by torchinfo."""

from dataclasses import dataclass

import torchinfo
from rich.table import Table
from torch import nn

from training.layers import side_after
from training.networks import INPUTS, build


@dataclass(frozen=True)
class Layer:
    """What one layer puts out for one picture, and what that costs."""

    name: str
    output: tuple[int, ...]
    formula: str  # the output-size formula with the layer's numbers; empty where it does not apply
    parameters: int
    multiply_adds: int  # torchinfo counts the addition of a bias as one


@dataclass(frozen=True)
class Summary:
    """The layers of a network, for pictures of `channels` x `size` x `size`."""

    network: str
    channels: int
    size: int
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Of all layers together."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of all layers together, for one picture."""
        return sum(layer.multiply_adds for layer in self.layers)


def summarise(name: str, *, classes: int = 10, channels: int | None = None, size: int | None = None) -> Summary:
    """Count through network `name`, by default for the pictures of the document that describes it."""
    described_channels, described_size = INPUTS.get(name, (3, 32))
    channels, size = channels or described_channels, size or described_size
    network = build(name, classes=classes, channels=channels, size=size).eval()
    counted = torchinfo.summary(network, input_size=(1, channels, size, size), verbose=0, device="cpu")
    leaves = (entry for entry in counted.summary_list if entry.is_leaf_layer)
    layers = tuple(
        Layer(
            entry.class_name,
            tuple(entry.output_size[1:]),
            _formula(entry.module, entry.input_size[-1]),
            entry.num_params,
            entry.macs,
        )
        for entry in leaves
    )
    return Summary(name, channels, size, layers)


def table(summary: Summary) -> Table:
    """The layers for people; layers without parameters that keep the size are left out."""
    title = f"{summary.network}, {summary.channels}x{summary.size}x{summary.size}"
    found = Table(title=title, title_justify="left", show_footer=True)
    found.add_column("layer", "together")
    found.add_column("output", justify="right")
    found.add_column("floor((in - k + 2p) / s) + 1")
    found.add_column("parameters", f"{summary.parameters:,}", justify="right")
    found.add_column("multiply-adds", f"{summary.multiply_adds:,}", justify="right")
    for layer in summary.layers:
        if layer.parameters or layer.formula:
            output = "x".join(map(str, layer.output))
            found.add_row(layer.name, output, layer.formula, f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
    return found


def comparison(one: Summary, other: Summary) -> Table:
    """Totals of two networks beside each other."""
    found = Table(title=f"{one.network} beside {other.network}", title_justify="left")
    for heading in ("", one.network, other.network, "ratio"):
        found.add_column(heading, justify="right" if heading else "left")
    rows = {
        "input values": (one.channels * one.size**2, other.channels * other.size**2),
        "parameters": (one.parameters, other.parameters),
        "multiply-adds": (one.multiply_adds, other.multiply_adds),
    }
    for name, (first, second) in rows.items():
        found.add_row(name, f"{first:,}", f"{second:,}", f"{first / second:,.1f}x")
    return found


def _formula(layer: nn.Module, side: int) -> str:
    """The formula of document S1 with the numbers of a convolution or pooling."""
    if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return ""
    after, kernel, stride, padding = side_after(layer, side)
    return f"({side} - {kernel} + 2*{padding}) / {stride} + 1 = {after}"
