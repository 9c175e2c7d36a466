"""How a network is trained: Recipe and Stage. Both are checked when they are made, before any work.

A recipe travels whole inside the checkpoint, and comes back from plain JSON with `from_mapping`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from training.networks import INPUTS, NETWORKS

Optimizer = Literal["sgd", "nesterov", "adam", "adamw", "muon"]
Schedule = Literal["constant", "step", "multi-step", "cosine", "one-cycle", "plateau"]
Storage = Literal["float32", "float16"]


class RecipeError(ValueError):
    """A recipe is impossible; the message names the field and what it may be."""


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with one batch size and one (peak) learning rate."""

    epochs: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.epochs >= 1, f"a stage needs at least 1 epoch, not {self.epochs}")
        _require(self.batch_size >= 2, f"batch norm needs a batch of at least 2, not {self.batch_size}")
        _require(self.learning_rate > 0, f"the learning rate must be positive, not {self.learning_rate}")


@dataclass(frozen=True)
class Recipe:
    """Network, stages, optimiser, schedule, augmentation and subsets. Raises RecipeError where impossible.

    Of the schedule's fields each belongs to the schedules named beside it; the others ignore it.
    """

    network: str
    stages: tuple[Stage, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    precision: Literal["auto", "fp32"] = "auto"  # auto: bf16 autocast where the device is fast at it
    first_convolution: Literal["random", "whitened", "frozen"] = "random"  # frozen: whitened, and it stays so
    softmax_in_network: bool = False  # the mistake of S0 and S3: a softmax before the loss, which applies its own
    optimizer: Optimizer = "nesterov"
    momentum: float = 0.9  # of SGD (0: plain SGD); of Adam the first beta
    weight_decay: float = 5e-4  # on weights only: neither on biases nor on norms
    bias_rate: float = 1.0  # factor on the learning rate of biases and norms
    fresh_optimizer: bool = False  # forget the optimiser's averages where a stage begins
    schedule: Schedule = "one-cycle"
    decay_factor: float = 0.1  # step, multi-step, plateau
    decay_every: int = 0  # step: epochs
    decay_at: tuple[int, ...] = ()  # multi-step: epochs of a stage
    cosine_epochs: int = 0  # cosine: from the peak to zero; 0 is a whole stage
    patience: int = 10  # plateau: epochs without progress that are borne
    threshold: float = 1e-4  # plateau: what counts as progress in validation accuracy (0..1)
    threshold_mode: Literal["abs", "rel"] = "rel"
    label_smoothing: float = 0.0
    distillation: float = 0.0  # share that a teacher's answers have in the loss; labels have the rest
    distillation_temperature: float = 2.0  # divides both networks' logits there
    ema: float = 0.0  # share of the old average that a step keeps in the averaged weights; 0 switches it off
    stored_as: Storage = "float32"  # in checkpoints; "float16" halves all but vectors, training itself stays as it is
    flip: bool = True
    alternate_flip: bool = False  # mirrored in every second epoch instead of by chance
    crop_padding: int = 4  # pixels by which a padded crop may move a picture; 0 switches it off
    cutout: int = 8  # side of the blanked square in pixels; 0 switches it off
    cutmix: float = 0.0  # share of the pictures that get a rectangle of another picture, and of its label
    brightness: float = 0.0  # colour jitter: factors are drawn from 1 - x to 1 + x
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # turns of the colour circle, drawn from -x to x; at most a half
    fancy_pca: float = 0.0  # standard deviation of the shift along the colours' principal axes; AlexNet had 0.1
    validation_share: float = 0.1  # of the training pictures of every class
    validation_images: int | None = None  # that many instead of a share
    train_images: int | None = None  # fit to that many of the others
    test_images: int | None = None  # report on that many; 0 leaves the test split unread, for trials

    def __post_init__(self) -> None:
        _require(isinstance(self.stages, list | tuple), f"stages must be a list of stages, not {self.stages!r}")
        object.__setattr__(self, "stages", tuple(map(_stage, self.stages)))
        if isinstance(self.decay_at, list):  # as JSON has it
            object.__setattr__(self, "decay_at", tuple(self.decay_at))
        _check_types(self)
        _check_network(self.network, self.arguments)
        _require(len(self.stages) > 0, "a recipe needs at least one stage")
        for name in ("momentum", "label_smoothing", "ema"):
            _require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("weight_decay", "crop_padding", "cutout", "threshold", "patience", "cosine_epochs", "fancy_pca"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, it is {getattr(self, name)}")
        for name, most in (
            ("brightness", 1),
            ("contrast", 1),
            ("saturation", 1),
            ("hue", 0.5),
            ("cutmix", 1),
            ("distillation", 1),
        ):
            _require(0 <= getattr(self, name) <= most, f"{name} must be in [0, {most}], not {getattr(self, name)}")
        for name, least in (("train_images", 1), ("validation_images", 1), ("test_images", 0)):
            count = getattr(self, name)
            _require(
                count is None or count >= least, f"{name} must be at least {least}, or null for all; it is {count}"
            )
        for name in ("bias_rate", "distillation_temperature"):
            _require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        _require(0 < self.validation_share < 1, f"validation_share must be in (0, 1), not {self.validation_share}")
        undone = self.softmax_in_network and self.distillation
        _require(not undone, "distillation compares logits, so softmax_in_network must be false")
        _check_schedule(self)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> tuple[int, int]:
        """The number of the stage of an epoch (both counted from 0), and the epochs of that stage before it."""
        for number, stage in enumerate(self.stages):
            if epoch < stage.epochs:
                return number, epoch
            epoch -= stage.epochs
        raise IndexError("the recipe has fewer epochs")

    def with_epochs(self, epochs: int) -> "Recipe":
        """The same recipe in `epochs` epochs, shared among the stages in proportion, at least one for each.

        The schedule's moments move with them; `patience` stays, because it is about noise and not about time.
        """
        _require(
            epochs >= len(self.stages),
            f"{epochs} epochs are too few: the recipe needs {len(self.stages)} or more, one for every stage",
        )
        ratio = epochs / self.epochs
        ends = [0]
        for done in range(len(self.stages)):
            whole = sum(stage.epochs for stage in self.stages[: done + 1])
            left = len(self.stages) - done - 1
            ends.append(min(max(round(whole * ratio), ends[-1] + 1), epochs - left))
        return replace(
            self,
            stages=tuple(replace(stage, epochs=ends[i + 1] - ends[i]) for i, stage in enumerate(self.stages)),
            decay_every=_moved(self.decay_every, ratio),
            decay_at=tuple(_moved(at, ratio) for at in self.decay_at),
            cosine_epochs=_moved(self.cosine_epochs, ratio),
        )

    def changed(self, changes: Mapping[str, Any]) -> "Recipe":
        """The same recipe with some fields changed. Raises RecipeError for unknown fields and impossible values."""
        known = [entry.name for entry in fields(self)]
        if unknown := sorted(set(changes) - set(known)):
            raise RecipeError(f"a recipe has no {', '.join(unknown)}; it has: {', '.join(known)}")
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """All fields as plain JSON values, with lists for tuples."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def from_mapping(content: Mapping[str, Any]) -> Recipe:
    """A recipe from plain JSON values. Raises RecipeError for unknown and missing fields and impossible values."""
    if missing := [name for name in ("network", "stages") if name not in content]:
        raise RecipeError(f"a recipe needs {' and '.join(missing)}")
    start = Recipe(network=content["network"], stages=content["stages"])
    return start.changed(content)


def _stage(value: Any) -> Stage:
    if isinstance(value, Stage):
        return value
    known = [entry.name for entry in fields(Stage)]
    if not isinstance(value, Mapping) or set(value) != set(known):
        raise RecipeError(f"a stage has exactly {', '.join(known)}, not {value!r}")
    return Stage(**value)


def _check_types(settings: Recipe | Stage) -> None:
    """Hold every field to its annotation; what has a check of its own is left to it."""
    for name, hint in get_type_hints(type(settings)).items():
        _check_type(name, hint, getattr(settings, name))


def _check_type(name: str, hint: Any, value: Any) -> None:
    """Numbers are numbers, words are among the choices, lists hold what they should."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        _require(value in parts, f"unknown {name} {value!r}; there are: {', '.join(parts)}")
    elif hint is bool:
        _require(isinstance(value, bool), f"{name} must be true or false, not {value!r}")
    elif hint is int or (hint == int | None and value is not None):
        whole = isinstance(value, int) and not isinstance(value, bool)
        _require(whole, f"{name} must be a whole number, not {value!r}")
        _require(abs(value) < 1 << 31, f"{name} must be less than 2^31, not {value}")
    elif hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(number and abs(value) < sys.float_info.max, f"{name} must be a number, not {value!r}")
    elif kind in (tuple, Sequence):
        _require(isinstance(value, list | tuple), f"{name} must be a list, not {value!r}")
        for entry in value:
            _check_type(name, parts[0], entry)


def _check_network(name: Any, arguments: Any) -> None:
    if not isinstance(name, str) or name not in NETWORKS:
        raise RecipeError(f"unknown network {name!r}; there are: {', '.join(NETWORKS)}")
    _require(isinstance(arguments, Mapping), f"arguments must be an object of names and values, not {arguments!r}")
    hints = get_type_hints(NETWORKS[name])
    known = sorted(set(hints) - {"classes", "channels", "size", "return"})
    if unknown := [str(argument) for argument in arguments if argument not in known]:
        there = ", ".join(known) or "none"
        raise RecipeError(f"{name} has no argument {', '.join(unknown)}; it takes: {there}")
    for argument, value in arguments.items():
        _check_type(argument, hints[argument], value)
    channels, size = INPUTS.get(name, (3, 32))
    try:
        with torch.device("meta"):  # shapes without memory
            NETWORKS[name](classes=10, channels=channels, size=size, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"{name} cannot have {dict(arguments)}: {error}") from error


def _check_schedule(recipe: Recipe) -> None:
    _require(0 < recipe.decay_factor <= 1, f"decay_factor must be in (0, 1], not {recipe.decay_factor}")
    if recipe.schedule == "step":
        _require(recipe.decay_every >= 1, f"schedule step needs decay_every >= 1, not {recipe.decay_every}")
    rising = list(recipe.decay_at) == sorted(recipe.decay_at) and min(recipe.decay_at, default=1) >= 1
    _require(rising, f"decay_at must be rising epochs from 1 on, not {recipe.decay_at}")
    if recipe.schedule == "multi-step":
        _require(len(recipe.decay_at) > 0, "schedule multi-step needs decay_at, the epochs after which the rate falls")


def _moved(epoch: int, ratio: float) -> int:
    return max(1, round(epoch * ratio)) if epoch else 0


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise RecipeError(otherwise)
