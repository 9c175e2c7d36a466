"""Weights in half precision: what is rounded and what is not, and that only what is stored is rounded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.unit.runs import METADATA, RECIPE, pictures, quick_train, stop_at_batch, weights
from training import checkpoint, resume, run_folder, storage, trainee
from training.checkpoint import Checkpoint
from training.loop import Extras, Result
from training.recipe import Stage

HALF = replace(RECIPE, stored_as="float16")
# Too slow to move any weight by a thousandth of a thousandth.
STILL = replace(RECIPE, stages=(Stage(1, 48, 1e-12),), optimizer="sgd", momentum=0.0, weight_decay=0.0)


@pytest.fixture(scope="module")
def half_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run of `quick_run`, but for how it stores its weights. Tests only read it."""
    return quick_train(tmp_path_factory.mktemp("runs") / "half", HALF)


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same names, types and values."""
    assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in expected.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_kernels_and_matrices_become_float16_and_all_else_stays() -> None:
    types = {tensor.ndim: set[torch.dtype]() for tensor in weights().values()}
    for tensor in storage.stored(weights(), "float16").values():
        types[tensor.ndim].add(tensor.dtype)
    # Counts of batch norm; biases and norms; matrices; kernels.
    assert types == {0: {torch.int64}, 1: {torch.float32}, 2: {torch.float16}, 4: {torch.float16}}


def test_vectors_and_counts_are_what_they_were() -> None:
    found = storage.stored(weights(), "float16")
    assert all(torch.equal(found[name], tensor) for name, tensor in weights().items() if tensor.ndim < 2)


def test_float32_changes_nothing() -> None:
    assert_equal(storage.stored(weights(), "float32"), weights())


def test_values_are_rounded_to_the_nearest_and_ties_to_even() -> None:
    step = 2.0**-10  # of float16 between 1 and 2
    values = torch.tensor([[1 + 0.49 * step, 1 + 0.5 * step, 1 + 0.51 * step, 1 + 1.5 * step, -1 - 0.51 * step]])
    found = storage.stored({"weight": values}, "float16")["weight"]
    assert found.tolist() == [[1, 1, 1 + step, 1 + 2 * step, -1 - step]]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (65_519.0, torch.float16),
        (-65_519.0, torch.float16),
        (65_520.0, torch.float32),
        (-1e9, torch.float32),
        (float("inf"), torch.float32),
        (float("nan"), torch.float32),
    ],
)
def test_a_tensor_that_float16_cannot_hold_stays_float32(value: float, kept: torch.dtype) -> None:
    tensors = {"large": torch.tensor([[value, 0.1]]), "other": torch.tensor([[0.1]])}
    found = storage.stored(tensors, "float16")
    assert (found["large"].dtype, found["other"].dtype) == (kept, torch.float16)
    if kept == torch.float32:
        assert found["large"] is tensors["large"]


def test_a_run_stores_the_weights_of_its_best_epoch_and_of_its_stages_rounded(
    half_run: Result, quick_run: Result
) -> None:
    kept = [path.relative_to(half_run.path.parent) for path in half_run.path.parent.glob("**/stage-*.safetensors")]
    assert len(kept) == len(HALF.stages)
    for name in [half_run.path.relative_to(half_run.path.parent), *kept]:
        whole = checkpoint.load(quick_run.path.parent / name).weights
        assert_equal(checkpoint.load(half_run.path.parent / name).weights, storage.stored(whole, "float16"))


def test_training_and_the_state_to_resume_it_know_nothing_of_it(half_run: Result, quick_run: Result) -> None:
    states = [load_file(resume.state_path(result.path.parent)) for result in (half_run, quick_run)]
    assert_equal(*states)
    for measure in ("train_loss", "validation_loss", "validation_accuracy"):
        found, expected = ([entry[measure] for entry in run.metadata.history] for run in (half_run, quick_run))
        assert found == expected


def test_a_checkpoint_takes_little_more_than_half_the_bytes(half_run: Result, quick_run: Result) -> None:
    found, whole = (sum(t.nbytes for t in checkpoint.load(run.path).weights.values()) for run in (half_run, quick_run))
    assert 0.5 < found / whole < 0.51
    assert half_run.path.stat().st_size - found == pytest.approx(quick_run.path.stat().st_size - whole, abs=500)


def test_the_test_accuracy_is_that_of_the_weights_as_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeros(whole: Mapping[str, Tensor], _: str) -> dict[str, Tensor]:
        return {name: torch.zeros_like(tensor) for name, tensor in whole.items()}

    monkeypatch.setattr(storage, "stored", zeros)
    always_the_first = int((pictures().test.labels == 0).sum()) / len(pictures().test)
    assert quick_train(tmp_path, HALF).metadata.accuracy["test"] == always_the_first


def test_the_card_says_how_the_weights_are_stored(half_run: Result, quick_run: Result) -> None:
    cards = [(result.path.parent / "card.md").read_text() for result in (half_run, quick_run)]
    assert ["weights stored as float16" in card for card in cards] == [True, False]


def test_a_stopped_run_goes_on_to_the_same_stored_weights(
    half_run: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at_batch(5, tmp_path, monkeypatch, HALF)
    resumed = quick_train(tmp_path, HALF, go_on=True)
    assert resumed.metadata.weights_sha256 == half_run.metadata.weights_sha256
    assert resumed.metadata.accuracy == half_run.metadata.accuracy


def test_the_network_of_a_checkpoint_is_float32_with_the_stored_values() -> None:
    halves = storage.stored(weights(), "float16")
    found = Checkpoint(METADATA, halves).build_network().state_dict()
    assert_equal(found, {name: t.float() if t.is_floating_point() else t for name, t in halves.items()})


def test_a_run_that_begins_with_stored_weights_trains_in_float32(half_run: Result, tmp_path: Path) -> None:
    start = checkpoint.load(half_run.path)
    begun = trainee.build(STILL, start.metadata, pictures().train.images, torch.device("cpu"), weights=start.weights)
    assert {parameter.dtype for parameter in begun.network.parameters()} == {torch.float32}
    continued = quick_train(tmp_path, STILL, extras=Extras(starts=(start,)))
    found = checkpoint.load(run_folder.checkpoint_path(tmp_path)).weights
    for name, parameter in begun.network.named_parameters():
        torch.testing.assert_close(found[name], parameter.detach(), rtol=0, atol=1e-9)
    assert continued.metadata.provenance["chain"][0]["weights_sha256"] == half_run.metadata.weights_sha256
