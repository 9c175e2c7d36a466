"""A network on one page: sizes by the formula, counts by exact arithmetic, two networks beside each other."""

import pytest

from training import __main__ as command
from training.summary import summarise


def test_the_pages_of_alexnet_and_lenet_have_the_documented_totals() -> None:
    assert summarise("lenet").parameters == 61_706
    assert (summarise("lenet").channels, summarise("lenet").size) == (1, 28)
    assert summarise("alexnet-bn").parameters == 2_091_274


def test_every_layer_of_simple_cnn_is_counted_exactly() -> None:
    found = [
        (layer.name, layer.output, layer.parameters, layer.multiply_adds) for layer in summarise("simple-cnn").layers
    ]
    convolution = 18 * (3 * 9 + 1)
    assert found == [
        ("Conv2d", (18, 32, 32), convolution, convolution * 32 * 32),
        ("ReLU", (18, 32, 32), 0, 0),
        ("MaxPool2d", (18, 16, 16), 0, 0),
        ("Flatten", (18 * 16 * 16,), 0, 0),
        ("Linear", (64,), 64 * (18 * 16 * 16 + 1), 64 * (18 * 16 * 16 + 1)),
        ("ReLU", (64,), 0, 0),
        ("Linear", (10,), 650, 650),
    ]


@pytest.mark.parametrize("name", ["lenet", "simple-cnn", "compact", "alexnet-bn"])
def test_the_formula_gives_the_sizes_that_the_layers_put_out(name: str) -> None:
    shown = [layer for layer in summarise(name).layers if layer.formula]
    assert len(shown) >= 2
    assert all(layer.formula.endswith(f"= {layer.output[-1]}") for layer in shown)


def test_the_formula_shows_kernel_padding_and_stride() -> None:
    assert summarise("lenet").layers[0].formula == "(28 - 5 + 2*2) / 1 + 1 = 28"


def test_the_command_compares_two_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["summary", "simple-cnn", "--compare", "lenet"]) == 0
    printed = capsys.readouterr().out
    assert "simple-cnn beside lenet" in printed
    assert f"{296_130 / 61_706:.1f}x" in printed


def test_classes_channels_and_size_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["summary", "compact", "--classes", "3", "--channels", "1", "--size", "48"]) == 0
    assert "compact, 1x48x48" in capsys.readouterr().out


def test_an_unknown_network_is_refused_with_the_valid_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["summary", "vgg"]) == 1
    assert "alexnet-32-big" in capsys.readouterr().err
