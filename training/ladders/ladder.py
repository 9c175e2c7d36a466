"""Ladders: recipes that differ in one thing after the other, trained on the same pictures into one result.

`climb` leaves NAME.json with every raw figure; `ladder_report` makes table and picture from that file alone.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from training import checkpoint
from training.data.dataset import Dataset
from training.distributed import SINGLE, Processes
from training.epoch import Diverged, TrainingError
from training.files import write_atomically
from training.ladders.trials import flagship_trials
from training.loop import Extras, Result, train
from training.networks import INPUTS
from training.recipe import Recipe, RecipeError, Stage
from training.recipes import RECIPES, REPORTED, Reported
from training.reports.progress import training_seconds
from training.run_folder import is_begun

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Ladder:
    """Recipes by the name of their rung."""

    title: str
    rungs: Mapping[str, Recipe]

    def select(self, names: Sequence[str]) -> "Ladder":
        """Only the rungs of these names. Raises RecipeError naming the valid ones."""
        if unknown := sorted(set(names) - set(self.rungs)):
            raise RecipeError(f"unknown rung {', '.join(unknown)}; there are: {', '.join(self.rungs)}")
        return replace(self, rungs={name: recipe for name, recipe in self.rungs.items() if name in names})

    def with_epochs(self, epochs: int) -> "Ladder":
        """Every rung in `epochs` epochs."""
        return replace(self, rungs={name: recipe.with_epochs(epochs) for name, recipe in self.rungs.items()})

    def changed(self, changes: Mapping[str, Any]) -> "Ladder":
        """Every rung with the same fields of its recipe changed. Raises RecipeError where the rungs differ in one."""
        for name in changes:
            values = [rung.as_json().get(name) for rung in self.rungs.values()]
            if any(value != values[0] for value in values):
                raise RecipeError(f"the rungs of this ladder differ in {name}: it cannot be the same for all of them")
        return replace(self, rungs={name: recipe.changed(changes) for name, recipe in self.rungs.items()})


def named_ladder(name: str) -> Ladder:
    """Look a ladder up. Raises RecipeError naming the valid ones."""
    if name not in LADDERS:
        raise RecipeError(f"unknown ladder {name!r}; there are: {', '.join(LADDERS)}")
    return LADDERS[name]


def picture_size(recipe: Recipe) -> int:
    """Side of the pictures that a recipe's document feeds its network."""
    return INPUTS.get(recipe.network, (3, 32))[1]


def climb(
    ladder: Ladder,
    load: Callable[[int], Dataset],
    directory: Path,
    result_file: Path,
    *,
    on: torch.device,
    command: Sequence[str],
    seed: int = 0,
    go_on: bool = False,
    processes: Processes = SINGLE,
) -> dict[str, Any]:
    """Train every rung in DIRECTORY/RUNG, on pictures of its size, and write the result after each. Returns it.

    A rung that diverges is entered with the reason, and the next one begins. With `go_on`, finished epochs and rungs
    are kept. `command` is what a reader would type to have the same again.
    """
    if result_file.exists() and not go_on:
        raise TrainingError(f"{directory} holds a ladder already: go on with --resume, or choose another --out")
    entries = _entries_of(result_file, command)
    result: dict[str, Any] = {}
    for rung, recipe in ladder.rungs.items():
        if processes.is_first:
            print(f"{rung}: {recipe.network}, {recipe.epochs} epochs", flush=True)
        folder = directory / rung
        entry: dict[str, Any] = {
            "name": rung,
            "recipe": recipe.as_json(),
            "reported": asdict(REPORTED.get(rung, Reported())),
        }
        try:
            dataset, resumes = load(picture_size(recipe)), go_on and is_begun(folder)
            extras = Extras(processes=processes)
            trained = train(recipe, dataset, folder, on=on, seed=seed, go_on=resumes, extras=extras)
            entry |= _measured(trained, folder)
        except Diverged as error:
            entry |= {"diverged": str(error), "epochs_before": _metrics(folder)}
        entries[rung] = entry
        rungs = list(entries.values())
        result = {"format": FORMAT_VERSION, "title": ladder.title, "command": list(command), "rungs": rungs}
        if processes.is_first:
            write_atomically(result_file, (json.dumps(result, indent=1, sort_keys=True) + "\n").encode())
    return result


def _entries_of(result_file: Path, command: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rungs that the same command entered before it was stopped. Raises TrainingError for another command's."""
    if not result_file.exists():
        return {}
    before = json.loads(result_file.read_text(encoding="utf-8"))
    if before["command"] != list(command):
        raise TrainingError(
            f"{result_file} is the result of another command, {shlex.join(before['command'])}; choose another --out"
        )
    return {entry["name"]: entry for entry in before["rungs"]}


def _metrics(folder: Path) -> list[Any]:
    """The lines of a run's metrics.jsonl; none where it finished no epoch."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [_rounded(json.loads(line)) for line in lines]


def _measured(result: Result, folder: Path) -> dict[str, Any]:
    metadata = result.metadata
    network = checkpoint.load(result.path).build_network()
    return {
        "pictures": metadata.data,
        "size": metadata.size,
        "seed": metadata.seed,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "accuracy": metadata.accuracy,
        "seconds": training_seconds(metadata),
        "provenance": metadata.provenance,
        "history": _metrics(folder),
    }


def _rounded(value: Any) -> Any:
    """Six digits are more than any figure here deserves, and half the file."""
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _prefixed(prefix: str) -> dict[str, Recipe]:
    return {name: recipe for name, recipe in RECIPES.items() if name.startswith(prefix)}


def _comparison() -> dict[str, Recipe]:
    """S4's network in variants, at one rate for all; rate and batch are ours, so that two epochs show something."""
    start = replace(RECIPES["s4-bn"], stages=(Stage(2, 32, 0.01),), train_images=10_000)

    def variant(**arguments: Any) -> Recipe:
        return replace(start, arguments=arguments)

    activations = {
        f"{activation}{'-bn' if batch_norm else ''}": variant(activation=activation, batch_norm=batch_norm)
        for batch_norm in (False, True)
        for activation in ("relu", "tanh", "sigmoid")
    }
    return activations | {
        "relu-bn-no-overlap": variant(overlapping=False),
        "relu-bn-3x3": variant(kernels=(3, 3)),
        "relu-bn-5x5": variant(kernels=(5, 5)),
    }


LADDERS: Mapping[str, Ladder] = MappingProxyType(
    {
        "s0": Ladder("S0: AlexNet re-cut for 32x32 pictures", _prefixed("s0")),
        "s1": Ladder("S1: SimpleCNN", _prefixed("s1")),
        "s2": Ladder("S2: classic AlexNet beside LeNet", _prefixed("s2")),
        "s3": Ladder("S3: compact AlexNet, the long climb", _prefixed("s3")),
        "s4": Ladder("S4: AlexNet with batch norm", _prefixed("s4")),
        "softmax": Ladder(
            "A softmax before the loss, which applies its own",
            {"s3-1": RECIPES["s3-1"], "s3-1-softmax": replace(RECIPES["s3-1"], softmax_in_network=True)},
        ),
        "s4-compare": Ladder("S4's network: activation, batch norm, pooling, kernels", _comparison()),
        "flagship-trials": Ladder("On the way to the flagship: shapes, and ways of training", flagship_trials()),
    }
)
