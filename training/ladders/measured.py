"""Every named recipe with its document's figure, and ours where a committed result has one."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from training.recipe import Recipe, from_mapping
from training.recipes import RECIPES, REPORTED, Reported

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def recipe_table(results: Path = RESULTS) -> Table:
    """The recipes for people; `results` is a folder with the JSON files of ladders."""
    found = best_measured(rungs(results))
    table = Table(title="recipes, with test accuracies", title_justify="left")
    for heading in ("recipe", "network", "epochs", "optimiser, schedule", "document", "ours"):
        table.add_column(heading)
    for name, recipe in RECIPES.items():
        table.add_row(
            name,
            recipe.network,
            " + ".join(str(stage.epochs) for stage in recipe.stages),
            f"{recipe.optimizer}, {recipe.schedule}",
            _document(REPORTED.get(name, Reported())),
            _ours(recipe, found.get(name)),
        )
    return table


def best_measured(measured: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """For every rung the measurement that saw the most pictures."""
    found: dict[str, Mapping[str, Any]] = {}
    for rung in measured:
        name = rung["name"]
        if "history" in rung and _is_unchanged(rung) and (name not in found or _seen(rung) > _seen(found[name])):
            found[name] = rung
    return found


def rungs(results: Path = RESULTS) -> Iterator[Mapping[str, Any]]:
    """Every rung of every ladder's result in a folder."""
    for path in sorted(results.glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8")).get("rungs", [])


def _is_unchanged(rung: Mapping[str, Any]) -> bool:
    """Whether a rung's recipe is the named one, but for the number of epochs and of pictures."""
    if rung["name"] not in RECIPES:
        return False
    found = from_mapping(rung["recipe"])
    subsets = {name: getattr(found, name) for name in ("train_images", "validation_images", "test_images")}
    return found.as_json() == RECIPES[rung["name"]].with_epochs(found.epochs).changed(subsets).as_json()


def _seen(rung: Mapping[str, Any]) -> int:
    return len(rung["history"]) * int(rung["pictures"]["fit"])


def _document(reported: Reported) -> str:
    parts = [f"{reported.held_out:.2%}"] if reported.held_out else []
    parts += [f"{reported.train:.1%} in training"] if reported.train else []
    parts += [reported.note] if reported.note else []
    return "; ".join(parts)


def _ours(recipe: Recipe, rung: Mapping[str, Any] | None) -> str:
    if rung is None:
        return ""
    epochs = len(rung["history"])
    scaled = f"{epochs} epochs" if epochs == recipe.epochs else f"{epochs} of {recipe.epochs} epochs"
    return f"{rung['accuracy']['test']:.2%} ({scaled}, {rung['pictures']['fit']:,} pictures)"
