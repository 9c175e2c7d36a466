"""The learning rate over a stage, as functions of the recipe and of what was measured so far: no state to keep.

Step, multi-step, cosine and plateau follow torch.optim.lr_scheduler; a test holds them to it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from training.recipe import Recipe


def factor(recipe: Recipe, stage_epochs: int, epochs: float, accuracies: Sequence[float]) -> float:
    """Factor on a stage's learning rate after `epochs` (with fractions) of its `stage_epochs`.

    `accuracies` are the validation accuracies of the stage's finished epochs, which "plateau" looks at.
    """
    whole = math.floor(epochs)
    match recipe.schedule:
        case "constant":
            return 1.0
        case "step":
            return recipe.decay_factor ** (whole // recipe.decay_every)
        case "multi-step":
            return recipe.decay_factor ** bisect_right(recipe.decay_at, whole)
        case "cosine":
            return (1 + math.cos(math.pi * epochs / (recipe.cosine_epochs or stage_epochs))) / 2
        case "one-cycle":
            return _one_cycle(epochs / stage_epochs)
        case "plateau":
            return _plateau(recipe, accuracies)


def _one_cycle(progress: float) -> float:
    """Rise linearly over the first quarter and fall linearly to a hundredth (after Smith & Topin 2018)."""
    warm_up, start, end = 0.25, 0.1, 0.01
    if progress < warm_up:
        return start + (1 - start) * progress / warm_up
    return 1 - (1 - end) * (progress - warm_up) / (1 - warm_up)


def _plateau(recipe: Recipe, accuracies: Sequence[float]) -> float:
    """Multiply by `decay_factor` whenever more than `patience` epochs in a row brought no progress."""
    best, without_progress, decays = -math.inf, 0, 0
    for accuracy in accuracies:
        needed = best + recipe.threshold if recipe.threshold_mode == "abs" else best * (1 + recipe.threshold)
        if accuracy > needed:
            best, without_progress = accuracy, 0
        else:
            without_progress += 1
        if without_progress > recipe.patience:
            decays, without_progress = decays + 1, 0
    return recipe.decay_factor**decays
