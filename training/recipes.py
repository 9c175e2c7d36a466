"""How a network is trained: Recipe and Stage, and the table of named recipes.

A recipe is checked when it is made, before any work, and travels whole inside the checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Schedule = Literal["constant", "one-cycle"]


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with one batch size and one (peak) learning rate."""

    epochs: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"a stage needs at least 1 epoch, not {self.epochs}")
        _require(self.batch_size >= 2, f"batch norm needs a batch of at least 2, not {self.batch_size}")
        _require(self.learning_rate > 0, f"the learning rate must be positive, not {self.learning_rate}")


@dataclass(frozen=True)
class Recipe:
    """Network, stages, optimiser (SGD with Nesterov momentum) and augmentation. Raises ValueError where impossible."""

    network: str
    stages: tuple[Stage, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule = "one-cycle"
    momentum: float = 0.9
    weight_decay: float = 5e-4  # on weights only: neither on biases nor on norms
    label_smoothing: float = 0.0
    flip: bool = True
    crop_padding: int = 4  # pixels by which a padded crop may move a picture; 0 switches it off
    cutout: int = 8  # side of the blanked square in pixels; 0 switches it off
    validation_share: float = 0.1  # of the training pictures of every class

    def __post_init__(self) -> None:
        _require(len(self.stages) > 0, "a recipe needs at least one stage")
        choices = get_args(Schedule)
        _require(self.schedule in choices, f"unknown schedule {self.schedule!r}; there are: {', '.join(choices)}")
        for name in ("momentum", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("weight_decay", "crop_padding", "cutout"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, it is {getattr(self, name)}")
        _require(0 < self.validation_share < 1, f"validation_share must be in (0, 1), not {self.validation_share}")

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> tuple[Stage, int]:
        """The stage of an epoch (counted from 0) and how many epochs of that stage came before it."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage, epoch
            epoch -= stage.epochs
        raise IndexError("the recipe has fewer epochs")

    def with_epochs(self, epochs: int) -> "Recipe":
        """The same recipe in `epochs` epochs, shared among the stages in proportion, at least one for each."""
        _require(
            epochs >= len(self.stages),
            f"{epochs} epochs are too few: the recipe needs {len(self.stages)} or more, one for every stage",
        )
        ends = [0]
        for done in range(len(self.stages)):
            share = sum(stage.epochs for stage in self.stages[: done + 1]) / self.epochs
            left = len(self.stages) - done - 1
            ends.append(min(max(round(epochs * share), ends[-1] + 1), epochs - left))
        stages = (replace(stage, epochs=ends[i + 1] - ends[i]) for i, stage in enumerate(self.stages))
        return replace(self, stages=tuple(stages))


def learning_rate_factor(schedule: Schedule, progress: float) -> float:
    """Factor on a stage's learning rate at `progress` (0 to 1 through the stage).

    "one-cycle" rises linearly over the first quarter and falls linearly to a hundredth (after Smith & Topin 2018).
    """
    if schedule == "constant":
        return 1.0
    warm_up, start, end = 0.25, 0.1, 0.01
    if progress < warm_up:
        return start + (1 - start) * progress / warm_up
    return 1 - (1 - end) * (progress - warm_up) / (1 - warm_up)


RECIPES: dict[str, Recipe] = {
    # Peak rate and epochs are ours: what two CPU cores finish in about an hour.
    "alexnet-bn": Recipe(network="alexnet-bn", stages=(Stage(epochs=12, batch_size=128, learning_rate=0.1),)),
    "compact": Recipe(network="compact", stages=(Stage(epochs=15, batch_size=128, learning_rate=0.05),)),
}


def named_recipe(name: str) -> Recipe:
    """Look a recipe up. Raises ValueError naming the valid ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
