"""The table of recipes: the document's figure, and ours where a result has one."""

import json
from pathlib import Path
from typing import Any

from training.ladders.measured import best_measured, recipe_table, rungs
from training.recipes import RECIPES, REPORTED


def measured(name: str, *, epochs: int = 8, fit: int = 1_000, test: float = 0.5) -> dict[str, Any]:
    """A rung of a ladder's result."""
    recipe = RECIPES[name].with_epochs(epochs).changed({"train_images": fit}).as_json()
    history: list[dict[str, Any]] = [{}] * epochs
    return {"name": name, "recipe": recipe, "history": history, "pictures": {"fit": fit}, "accuracy": {"test": test}}


def write(folder: Path, name: str, *entries: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"format": 1, "rungs": entries}))


def column(folder: Path, heading: str) -> dict[str, str]:
    """What the table says under a heading, by recipe."""
    cells = {str(column.header): [str(cell) for cell in column.cells] for column in recipe_table(folder).columns}
    return dict(zip(cells["recipe"], cells[heading], strict=True))


def test_every_recipe_has_its_row_in_order(tmp_path: Path) -> None:
    assert list(column(tmp_path, "recipe")) == list(RECIPES)


def test_a_row_tells_network_stages_and_optimisation(tmp_path: Path) -> None:
    found = {heading: column(tmp_path, heading)["s4-best"] for heading in ("network", "epochs", "optimiser, schedule")}
    assert list(found.values()) == ["alexnet-bn", "20 + 20 + 10", "sgd, constant"]


def test_the_documents_figures_and_remarks_are_told(tmp_path: Path) -> None:
    document = column(tmp_path, "document")
    assert document["s4-best"] == "89.49%"
    assert document["s3-3"] == "92.0% in training"
    assert document["s3-1"] == "75.00%; 89.0% in training; diverges after 100 epochs"
    assert {name for name, text in document.items() if text} == set(REPORTED)


def test_nothing_is_claimed_where_nothing_was_measured(tmp_path: Path) -> None:
    assert set(column(tmp_path, "ours").values()) == {""}
    assert set(column(tmp_path / "missing", "ours").values()) == {""}


def test_fewer_epochs_than_the_recipes_are_told(tmp_path: Path) -> None:
    write(tmp_path, "s4", measured("s4-bn", epochs=8, fit=45_000, test=0.8125))
    ours = column(tmp_path, "ours")
    assert ours["s4-bn"] == "81.25% (8 of 50 epochs, 45,000 pictures)"
    assert ours["s4-pure"] == ""


def test_all_epochs_of_the_recipe_are_told_as_such(tmp_path: Path) -> None:
    write(tmp_path, "s1", measured("s1", epochs=5, fit=20_000, test=0.625))
    assert column(tmp_path, "ours")["s1"] == "62.50% (5 epochs, 20,000 pictures)"


def test_a_diverged_rung_is_no_measurement(tmp_path: Path) -> None:
    write(tmp_path, "s3", {"name": "s3-1", "diverged": "the loss became nan"})
    assert column(tmp_path, "ours")["s3-1"] == ""


def test_of_several_measurements_the_one_that_saw_most_pictures_counts(tmp_path: Path) -> None:
    write(tmp_path, "a", measured("s3-1", epochs=8, fit=1_000, test=0.7))
    write(tmp_path, "b", measured("s3-1", epochs=3, fit=3_000, test=0.6), measured("s3-1", epochs=1, fit=8_500))
    assert column(tmp_path, "ours")["s3-1"] == "60.00% (3 of 50 epochs, 3,000 pictures)"


def test_of_equal_measurements_the_first_one_counts() -> None:
    first, second = measured("s3-1", epochs=2, fit=300), measured("s3-1", epochs=3, fit=200)
    assert best_measured([first, second])["s3-1"] is first


def test_results_are_read_by_name_and_other_files_ignored(tmp_path: Path) -> None:
    write(tmp_path, "b", measured("s3-1"))
    write(tmp_path, "a", measured("s1"))
    (tmp_path / "a.md").write_text("a table")
    (tmp_path / "other.json").write_text("{}")
    assert [entry["name"] for entry in rungs(tmp_path)] == ["s1", "s3-1"]


def test_a_recipe_that_was_changed_is_another_one(tmp_path: Path) -> None:
    changed = measured("s4-bn")
    changed["recipe"]["momentum"] = 0.5
    write(tmp_path, "s4", changed)
    assert column(tmp_path, "ours")["s4-bn"] == ""
