"""The model card names what is not as usual, and what the runs before it were."""

from dataclasses import replace
from typing import Any

import pytest

from training.loop import Result
from training.reports.card import model_card

STAGES = [{"epochs": 3, "batch_size": 8, "learning_rate": 0.5}, {"epochs": 1, "batch_size": 8, "learning_rate": 0.05}]


def run(**recipe: Any) -> dict[str, Any]:
    """Another run, as a checkpoint tells of it."""
    return {
        "network": "compact",
        "recipe": {"stages": STAGES, **recipe},
        "seed": 7,
        "data": {"name": "farm", "fit": 1200},
        "epochs": 4,
        "accuracy": {"validation": 0.5},
        "commit": None,
        "weights_sha256": "0123456789abcdef",
    }


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({}, "learning rate 0.5 and 0.05, seed 7"),
        ({"cutmix": 0.5}, "learning rate 0.5 and 0.05, CutMix in 50% of the pictures, seed 7"),
        ({"distillation": 0.9, "unknown": 1}, "learning rate 0.5 and 0.05, 90% of the loss from teachers, seed 7"),
    ],
)
def test_it_says_what_sets_the_runs_of_a_chain_apart(quick_run: Result, recipe: dict[str, Any], told: str) -> None:
    metadata = quick_run.metadata
    metadata = replace(metadata, provenance=metadata.provenance | {"chain": [run(**recipe)]})
    assert f"`compact`, 4 epochs on 1,200 pictures of `farm`, {told}, validation accuracy 50.00%" in model_card(
        "farm", metadata
    )


def test_it_counts_the_epochs_of_all_runs_whose_weights_it_went_on_from(quick_run: Result) -> None:
    metadata = quick_run.metadata
    metadata = replace(metadata, provenance=metadata.provenance | {"chain": [run(), run()]})
    in_all = 8 + len(metadata.history)
    assert f"Together with the runs whose weights it went on from, {in_all} epochs." in model_card("farm", metadata)


def test_it_names_the_arguments_of_a_network_that_has_any(quick_run: Result) -> None:
    plain = replace(quick_run.metadata, network="compact", arguments={})
    assert "network `compact`, " in model_card("farm", plain)
    other = replace(plain, arguments={"linear_dropout": 0.25, "batch_norm": False})
    assert "network `compact` (batch_norm False, linear_dropout 0.25), " in model_card("farm", other)
