"""What was tried on the way to the flagship: one plain start, and recipes that differ from it in one thing each.

A trial fits 12,000 pictures for eight epochs, is judged on validation pictures, and leaves the test split unread.
"""

from dataclasses import replace
from typing import Any

from training.recipe import Recipe, Stage

_START = Recipe(
    network="alexnet-32",
    arguments={"kernels": (3, 3, 3, 3, 3)},
    stages=(Stage(8, 128, 0.15),),
    label_smoothing=0.1,
    train_images=12_000,
    test_images=0,
)
# Muon's steps have the same length whatever the gradient, so its rate is no relative of SGD's.
_MUON = replace(_START, optimizer="muon", stages=(Stage(8, 128, 0.03),), weight_decay=0.02, bias_rate=2.0)


def flagship_trials() -> dict[str, Recipe]:
    """The trials by name: shapes of about the same cost first, then ways of training the first shape."""
    return {
        "plain": _START,
        "two-at-32": _shaped(widths=(24, 96, 256, 320, 320), pools=(1, 2, 2, 1, 2), hidden=(256, 128)),
        "two-at-16": _shaped(widths=(64, 120, 240, 320, 320), pools=(2, 1, 2, 1, 2), hidden=(256, 128)),
        "muon": _MUON,
        "whitened": replace(_START, first_convolution="frozen"),
        "bias-rate": replace(_START, bias_rate=8.0),
        "cutmix": replace(_START, cutout=0, cutmix=0.5),
        "no-cutout": replace(_START, cutout=0),
        "alternate-flip": replace(_START, alternate_flip=True),
        "averaged": replace(_START, ema=0.98),
        "no-smoothing": replace(_START, label_smoothing=0.0),
        "kernels-5": _shaped(kernels=(5, 3, 3, 3, 3)),
        "dropout": _shaped(dropout=0.3),
    }


def _shaped(**arguments: Any) -> Recipe:
    return replace(_START, arguments={**_START.arguments, **arguments})
