"""Beginning with another run's weights: what a run takes over, what it refuses, and the chain it tells."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.others import brighter, grey, renamed, smaller
from tests.unit.runs import interrupt_at_batch, one_thread, pictures
from training import ancestry, checkpoint, loop, run_folder
from training.checkpoint import CheckpointError
from training.data.dataset import Dataset
from training.epoch import TrainingError
from training.loop import Extras, Result
from training.recipe import Recipe, Stage
from training.resume import ResumeError

RECIPE = Recipe(
    network="simple-cnn",
    stages=(Stage(1, 48, 0.01),),
    optimizer="sgd",
    schedule="constant",
    train_images=96,
)
# Too slow to move any weight by a thousandth of a thousandth.
STILL = replace(RECIPE, stages=(Stage(1, 48, 1e-12),), momentum=0.0, weight_decay=0.0)


@one_thread()
def train(
    run: Path,
    start: Result | Sequence[Result] = (),
    recipe: Recipe = RECIPE,
    dataset: Dataset | None = None,
    **options: Any,
) -> Result:
    """Train in `run`, from the weights of `start`, or their mean where there are several."""
    starts = (start,) if isinstance(start, Result) else start
    extras = Extras(starts=tuple(checkpoint.load(each.path) for each in starts))
    return loop.train(recipe, dataset or pictures(), run, on=torch.device("cpu"), extras=extras, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run that began with weights of its own. Tests only read it."""
    return train(tmp_path_factory.mktemp("runs") / "first")


def told(result: Result) -> list[dict[str, Any]]:
    """The runs whose weights a run says it began with."""
    return list(result.metadata.provenance.get("chain", []))


def test_training_starts_at_the_given_weights(first: Result, tmp_path: Path) -> None:
    kept = checkpoint.load(train(tmp_path, first, STILL).path).weights
    for name, weight in checkpoint.load(first.path).weights.items():
        torch.testing.assert_close(kept[name], weight, rtol=0, atol=1e-9)


def test_without_them_training_starts_elsewhere(first: Result, tmp_path: Path) -> None:
    fresh = checkpoint.load(train(tmp_path, recipe=STILL).path).weights
    assert not torch.allclose(fresh["1.3.weight"], checkpoint.load(first.path).weights["1.3.weight"], atol=1e-6)


def test_pictures_are_normalised_as_the_weights_are_used_to(first: Result, tmp_path: Path) -> None:
    by_itself = train(tmp_path / "alone", dataset=brighter()).metadata
    continued = train(tmp_path / "continued", first, dataset=brighter()).metadata
    assert (continued.mean, continued.std) == (first.metadata.mean, first.metadata.std)
    assert by_itself.mean != continued.mean


def test_a_run_of_its_own_has_no_chain(first: Result) -> None:
    assert "chain" not in first.metadata.provenance


def test_a_run_tells_whose_weights_it_began_with(first: Result, tmp_path: Path) -> None:
    (source,) = told(train(tmp_path, first))
    metadata = first.metadata
    assert source == {
        "network": "simple-cnn",
        "recipe": metadata.recipe,
        "seed": 0,
        "data": metadata.data,
        "epochs": 1,
        "accuracy": metadata.accuracy,
        "commit": metadata.provenance["commit"],
        "weights_sha256": metadata.weights_sha256,
    }


def test_the_chain_grows_with_every_run_the_first_one_first(first: Result, tmp_path: Path) -> None:
    second = train(tmp_path / "second", first)
    third = train(tmp_path / "third", second)
    assert [run["weights_sha256"] for run in told(third)] == [
        first.metadata.weights_sha256,
        second.metadata.weights_sha256,
    ]


def test_the_card_has_a_line_for_every_run_of_the_chain(first: Result, tmp_path: Path) -> None:
    second = train(tmp_path / "second", first)
    card = (train(tmp_path / "third", second).path.parent / "card.md").read_text()
    assert [line for line in card.splitlines() if "of another run" in line] == [
        f"- {how} the weights {result.metadata.weights_sha256[:12]} of another run: `simple-cnn`, 1 epoch on 96 "
        f"pictures of `synthetic`, learning rate {result.metadata.recipe['stages'][0]['learning_rate']:g}, seed 0, "
        f"validation accuracy {result.metadata.accuracy['validation']:.2%}, "
        f"commit {result.metadata.provenance['commit'] or 'unknown'}."
        for how, result in (("Begun with", first), ("From there on to", second))
    ]
    assert "Together with the runs whose weights it went on from, 3 epochs." in card


def test_the_card_of_a_run_of_its_own_tells_of_no_other(first: Result) -> None:
    card = (first.path.parent / "card.md").read_text()
    assert "Begun with" not in card
    assert "Together with" not in card


@pytest.mark.parametrize(
    ("change", "name", "there", "wanted"),
    [(renamed, "classes", "rows-8px", "zebra"), (smaller, "size", "20", "18"), (grey, "channels", "3", "1")],
)
def test_weights_for_other_pictures_are_refused_by_name(
    change: Callable[[Dataset], Dataset], name: str, there: str, wanted: str, first: Result, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=f"for another {name}, .*{there}.*; this run has .*{wanted}"):
        train(tmp_path / "run", first, dataset=change(pictures()))
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_are_refused_by_name(first: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="for another network, simple-cnn; this run has compact"):
        train(tmp_path / "run", first, replace(RECIPE, network="compact"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [{"batch_norm": False}, {"dropout": (0.5, 0.5, 0.0, 0.0)}], ids=str)
def test_weights_of_the_network_with_other_arguments_are_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    compact = replace(RECIPE, network="compact")
    start = train(tmp_path / "start", recipe=compact)
    with pytest.raises((TrainingError, CheckpointError), match="weights"):
        train(tmp_path / "run", start, replace(compact, arguments=arguments))


def test_the_same_pictures_split_by_another_seed_are_refused(first: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="another split, with seed 0 and 30 held out; this run has seed 1 and 30"):
        train(tmp_path / "run", first, seed=1)
    assert not (tmp_path / "run").exists()


def test_the_same_pictures_split_in_another_proportion_are_refused(first: Result, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="30 held out; this run has seed 0 and 60, which they may know"):
        train(tmp_path / "run", first, replace(RECIPE, validation_share=0.2))


def test_other_pictures_may_be_split_by_another_seed(first: Result, tmp_path: Path) -> None:
    assert train(tmp_path, first, dataset=brighter(), seed=1).metadata.seed == 1


def test_the_first_pictures_of_a_chain_are_not_split_anew_after_a_detour(first: Result, tmp_path: Path) -> None:
    detour = train(tmp_path / "detour", first, dataset=brighter(), seed=1)
    with pytest.raises(TrainingError, match="these pictures of synthetic in another split"):
        train(tmp_path / "back", detour, seed=1)


@pytest.fixture
def stopped(first: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run from the first one's weights, stopped in the second of two epochs."""
    with monkeypatch.context() as patch:
        interrupt_at_batch(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", first, RECIPE.with_epochs(2))
    return tmp_path / "stopped"


def test_a_stopped_run_goes_on_from_the_weights_it_began_with(stopped: Path, first: Result) -> None:
    resumed = train(stopped, first, RECIPE.with_epochs(2), go_on=True)
    assert (len(resumed.metadata.history), len(told(resumed))) == (2, 1)


def test_a_stopped_run_does_not_go_on_from_other_weights(stopped: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "other", recipe=STILL)
    with pytest.raises(ResumeError, match="with other settings: begun_with"):
        train(stopped, other, RECIPE.with_epochs(2), go_on=True)


def test_a_stopped_run_does_not_go_on_as_one_that_began_by_itself(stopped: Path) -> None:
    with pytest.raises(ResumeError, match="with other settings: begun_with"):
        train(stopped, (), RECIPE.with_epochs(2), go_on=True)


def test_the_same_pictures_under_another_name_are_known_again(first: Result, tmp_path: Path) -> None:
    renamed_set = replace(pictures(), name="copied")
    with pytest.raises(TrainingError, match="these pictures of copied in another split"):
        train(tmp_path / "run", first, dataset=renamed_set, seed=1)


def test_other_pictures_under_the_same_name_are_others(first: Result, tmp_path: Path) -> None:
    assert train(tmp_path, first, dataset=replace(brighter(), name="synthetic"), seed=1).metadata.seed == 1


def test_an_older_checkpoint_without_digests_is_held_to_name_seed_and_count(first: Result, tmp_path: Path) -> None:
    source = checkpoint.load(first.path)
    plain = {name: value for name, value in source.metadata.data.items() if not name.endswith("sha256")}
    checkpoint.save(tmp_path / "old.safetensors", replace(source.metadata, data=plain), source.weights)
    old = Result(tmp_path / "old.safetensors", source.metadata)
    assert train(tmp_path / "same", old).metadata.seed == 0
    with pytest.raises(TrainingError, match="another split, with seed 0"):
        train(tmp_path / "run", old, seed=1)


@pytest.fixture(scope="module")
def second(first: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run that went on from the first one's weights. Tests only read it."""
    return train(tmp_path_factory.mktemp("runs") / "second", first)


def test_several_weights_to_begin_with_are_averaged_and_one_named_twice_counts_twice(
    first: Result, second: Result, tmp_path: Path
) -> None:
    kept = checkpoint.load(train(tmp_path, (first, second, second), STILL).path).weights
    one, other = (checkpoint.load(result.path).weights for result in (first, second))
    for name, weight in kept.items():
        torch.testing.assert_close(weight, (one[name] + 2 * other[name]) / 3, rtol=0, atol=1e-6)


def test_a_run_tells_of_all_whose_mean_it_began_with_and_of_those_before_them(
    first: Result, second: Result, tmp_path: Path
) -> None:
    metadata = train(tmp_path, (first, second)).metadata
    one, other = metadata.provenance["mean_of"]
    assert "chain" not in metadata.provenance
    assert one["weights_sha256"] == first.metadata.weights_sha256
    assert other["weights_sha256"] == second.metadata.weights_sha256
    assert other["chain"] == [{"weights_sha256": first.metadata.weights_sha256}]
    card = (tmp_path / "card.md").read_text()
    known = [result.metadata.weights_sha256[:12] for result in (first, second, first)]
    assert [line.split(" of another run")[0] for line in card.splitlines() if "Begun with" in line] == [
        f"- Begun with the mean of the weights {known[0]}",
        f"- Begun with the mean of the weights {known[1]}",
        f"  - Begun with the weights {known[2]}, which are told of above.",
    ]


def test_a_run_is_told_in_full_once_however_many_of_the_others_had_it(
    first: Result, second: Result, tmp_path: Path
) -> None:
    mean = train(tmp_path / "mean", (second, first, second))
    provenance = train(tmp_path / "mean-of-means", (mean, second, mean)).metadata.provenance
    text = json.dumps(provenance)
    for result in (first, second, mean):
        assert text.count(f'"weights_sha256": "{result.metadata.weights_sha256}"') > 1
    assert text.count('"recipe"') == 3
    names = [result.metadata.weights_sha256 for result in (mean, second, mean)]
    assert [run["weights_sha256"] for run in provenance["mean_of"]] == names
    assert provenance["mean_of"][2] == {"weights_sha256": names[2]}


def test_a_provenance_that_mentions_a_run_and_tells_it_nowhere_is_refused(first: Result) -> None:
    mention = {"weights_sha256": "0" * 64}
    source = checkpoint.load(first.path)
    edited = replace(source.metadata, provenance=source.metadata.provenance | {"chain": [mention]})
    with pytest.raises(TrainingError, match="mentions a run, 000000000000, that it tells nowhere"):
        ancestry.continued(first.metadata, [replace(source, metadata=edited)])


def test_what_is_only_mentioned_is_held_to_its_split_too(first: Result, second: Result, tmp_path: Path) -> None:
    mean = train(tmp_path / "mean", (second, first), dataset=brighter(), seed=1)
    again = train(tmp_path / "again", (mean, mean), dataset=brighter(), seed=1)
    with pytest.raises(TrainingError, match="these pictures of synthetic in another split"):
        train(tmp_path / "back", again, seed=1)


def test_what_follows_a_mean_still_tells_of_it_and_of_its_split(first: Result, second: Result, tmp_path: Path) -> None:
    mean = train(tmp_path / "mean", (first, second), dataset=brighter(), seed=1)
    (source,) = told(train(tmp_path / "after", mean, dataset=brighter(), seed=1))
    assert [run["weights_sha256"] for run in source["mean_of"]] == [
        result.metadata.weights_sha256 for result in (first, second)
    ]
    with pytest.raises(TrainingError, match="these pictures of synthetic in another split"):
        train(tmp_path / "back", mean, seed=1)


def test_a_mean_of_weights_for_pictures_normalised_otherwise_is_refused(first: Result, tmp_path: Path) -> None:
    other = train(tmp_path / "other", dataset=brighter())
    with pytest.raises(TrainingError, match="normalised in different ways have no mean"):
        train(tmp_path / "run", (first, other))
    assert not (tmp_path / "run").exists()


def test_a_stopped_run_does_not_go_on_from_the_mean_with_others(stopped: Path, first: Result, second: Result) -> None:
    with pytest.raises(ResumeError, match="with other settings: begun_with, mean_of"):
        train(stopped, (first, second), RECIPE.with_epochs(2), go_on=True)


def test_a_run_from_the_end_of_a_chain_is_another_than_one_from_the_mean_of_the_same_runs(
    first: Result, second: Result
) -> None:
    one, other = (checkpoint.load(result.path) for result in (first, second))
    chained, mean = (
        run_folder.identity(ancestry.continued(replace(first.metadata, provenance={}), starts))
        for starts in ([other], [one, other])
    )
    assert chained != mean
