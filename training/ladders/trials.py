"""What was tried on the way to the flagship: one plain start, and recipes that differ from it in few things.

A trial fits 12,000 pictures for eight epochs, is judged on validation pictures, and leaves the test split unread.
"""

from dataclasses import replace
from typing import Any

from training.recipe import Recipe, Stage

_START = Recipe(
    network="alexnet-32",
    arguments={"widths": (64, 192, 384, 256, 256), "pools": (2, 2, 1, 1, 2), "hidden": (512, 256)},
    stages=(Stage(8, 128, 0.15),),
    label_smoothing=0.1,
    train_images=12_000,
    test_images=0,
)
_TWO_AT_32 = {"widths": (24, 96, 256, 320, 320), "pools": (1, 2, 2, 1, 2), "hidden": (256, 128)}
_TWO_AT_16 = {"widths": (64, 120, 240, 320, 320), "pools": (2, 1, 2, 1, 2), "hidden": (256, 128)}
# Muon's steps have the same length whatever the gradient, so its rate is no relative of SGD's.
_MUON = replace(_START, optimizer="muon", stages=(Stage(8, 128, 0.03),), weight_decay=0.02, bias_rate=2.0)
_BEST = replace(_MUON, arguments={**_MUON.arguments, **_TWO_AT_32}, first_convolution="frozen")


def flagship_trials() -> dict[str, Recipe]:
    """The trials by name: the plain shape, others of about its cost, ways of training, and changes of what won."""
    return {
        "plain": _START,
        "two-at-32": _shaped(_START, _TWO_AT_32),
        "two-at-16": _shaped(_START, _TWO_AT_16),
        "muon": _MUON,
        "whitened": replace(_START, first_convolution="frozen"),
        "muon-two-at-32": _BEST,
        "muon-pooled": _shaped(_BEST, {"pools": (1, 2, 2, 1, 4)}),
        "muon-tapered": _shaped(_BEST, {"widths": (24, 96, 320, 384, 384), "pools": (1, 2, 2, 2, 4)}),
        "muon-two-at-16": _shaped(_BEST, _TWO_AT_16),
        "random-first": replace(_BEST, first_convolution="random"),
        "twice-the-rate": replace(_BEST, stages=(Stage(8, 128, 0.06),)),
        "even-biases": replace(_BEST, bias_rate=1.0),
        "cutmix": replace(_BEST, cutmix=0.5),
        "no-cutout": replace(_BEST, cutout=0),
        "no-smoothing": replace(_BEST, label_smoothing=0.0),
        "alternate-flip": replace(_BEST, alternate_flip=True),
        "averaged": replace(_BEST, ema=0.98),
        "cosine": replace(_BEST, schedule="cosine"),
        "dropout": _shaped(_BEST, {"dropout": 0.3}),
    }


def _shaped(recipe: Recipe, arguments: dict[str, Any]) -> Recipe:
    return replace(recipe, arguments={**recipe.arguments, **arguments})
