"""What moves the weights: optimisers, decay, averaging and the loss, reckoned by hand where it is cheap."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from tests.unit.runs import RECIPE, pictures, quick_train
from tests.unit.trainees import PLAIN, build, numbers, run_epochs, split
from training import checkpoint, epoch, loop, optimizers, resume
from training.data.augment import alternating_flip
from training.data.dataset import Split
from training.epoch import plan_epoch, take_step
from training.evaluate import predict
from training.recipe import Recipe, Stage
from training.trainee import Trainee

AVERAGED = PLAIN.changed({"ema": 0.75})
MUON = RECIPE.changed({"optimizer": "muon", "momentum": 0.5, "weight_decay": 0.0})


def groups(trained: Trainee) -> list[dict[str, Any]]:
    return trained.optimizers[0].param_groups


def filled(trained: Trainee, value: float) -> None:
    """Give every parameter the same value."""
    with torch.no_grad():
        for parameter in trained.network.parameters():
            parameter.fill_(value)


def step(trained: Trainee, gradient: float) -> None:
    """Take a step of the optimiser alone with the same gradient everywhere."""
    for parameter in trained.network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    for optimizer in trained.optimizers:
        optimizer.step()


def values(trained: Trainee) -> tuple[set[float], set[float]]:
    """The values among the weights and among the biases."""
    parameters = list(trained.network.parameters())
    kinds = [[p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]]
    found = [{value for p in kind for value in p.detach().flatten().tolist()} for kind in kinds]
    return found[0], found[1]


def logits(trained: Trainee, pictures: Split) -> Tensor:
    """What the network says of pictures that are not augmented."""
    found: Tensor = trained.network(trained.preprocess(pictures.images))
    return found


def loss(recipe: Recipe, answers: Tensor, labels: Tensor) -> float:
    return epoch._loss(recipe, answers, labels).item()


@pytest.mark.parametrize(
    ("optimizer", "momentum", "kind", "expected"),
    [
        ("sgd", 0.0, SGD, {"momentum": 0.0, "nesterov": False}),
        ("sgd", 0.8, SGD, {"momentum": 0.8, "nesterov": False}),
        ("nesterov", 0.8, SGD, {"momentum": 0.8, "nesterov": True}),
        ("nesterov", 0.0, SGD, {"momentum": 0.0, "nesterov": False}),
        ("adam", 0.8, Adam, {"betas": (0.8, 0.999), "decoupled_weight_decay": False}),
        ("adamw", 0.8, AdamW, {"betas": (0.8, 0.999), "decoupled_weight_decay": True}),
    ],
)
def test_an_optimiser_is_the_one_that_the_recipe_names(
    optimizer: str, momentum: float, kind: type[Optimizer], expected: dict[str, Any]
) -> None:
    trained = build(PLAIN.changed({"optimizer": optimizer, "momentum": momentum}))
    assert [type(optimizer) for optimizer in trained.optimizers] == [kind]
    for group in groups(trained):
        assert {name: group[name] for name in expected} == expected


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw"])
def test_weights_decay_and_neither_biases_nor_norms(optimizer: str) -> None:
    recipe = RECIPE.changed({"optimizer": optimizer, "weight_decay": 0.25})
    trained = build(recipe, side=20)
    decaying = {id(p) for group in groups(trained) if group["weight_decay"] == 0.25 for p in group["params"]}
    still = {id(p) for group in groups(trained) if group["weight_decay"] == 0.0 for p in group["params"]}
    layers = [m for m in trained.network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert decaying == {id(layer.weight) for layer in layers}
    assert still == {id(p) for p in trained.network.parameters()} - decaying


def test_plain_sgd_subtracts_the_gradient_and_the_decay_times_the_rate() -> None:
    trained = build(PLAIN.changed({"weight_decay": 0.25}))
    filled(trained, 4.0)
    step(trained, gradient=1.0)
    assert values(trained) == ({4 - 0.5 * (1 + 0.25 * 4)}, {4 - 0.5})


def test_plain_sgd_remembers_nothing() -> None:
    trained = build()
    step(trained, gradient=1.0)
    assert not trained.optimizers[0].state


@pytest.mark.parametrize(("optimizer", "third"), [("sgd", 1.5), ("nesterov", 1.75)])
def test_momentum_adds_half_of_the_last_step(optimizer: str, third: float) -> None:
    trained = build(PLAIN.changed({"optimizer": optimizer, "momentum": 0.5}))
    filled(trained, 0.0)
    step(trained, gradient=1.0)
    first = {"sgd": 1.0, "nesterov": 1.5}[optimizer]
    assert values(trained) == ({-0.5 * first}, {-0.5 * first})
    step(trained, gradient=1.0)
    assert values(trained) == ({-0.5 * (first + third)}, {-0.5 * (first + third)})


def test_a_step_follows_the_gradient_of_the_mean_loss_of_its_batch() -> None:
    trained, fit = build(), split(8)
    before = [parameter.detach().clone() for parameter in trained.network.parameters()]
    mean_loss = cross_entropy(logits(trained, fit), fit.labels)
    gradients = torch.autograd.grad(mean_loss, list(trained.network.parameters()))
    sums = take_step(trained, plan_epoch(trained, 0, fit, []), fit, torch.arange(8), 0.25)
    for old, gradient, new in zip(before, gradients, trained.network.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.25 * gradient)
    assert float(sums[0]) == pytest.approx(8 * mean_loss.item())


def test_labels_are_smoothed_in_training_and_not_in_validation() -> None:
    trained, fit = build(PLAIN.changed({"label_smoothing": 0.5})), split(8)
    smoothed = cross_entropy(logits(trained, fit), fit.labels, label_smoothing=0.5).item()
    (history,) = run_epochs(trained, 1, fit)
    assert history["train_loss"] == pytest.approx(smoothed)
    held = split(6)
    assert history["validation_loss"] == pytest.approx(cross_entropy(logits(trained, held), held.labels).item())


@pytest.mark.parametrize(("network", "side"), [("simple-cnn", 4), ("compact", 20)])
def test_averaged_weights_and_statistics_are_the_exponential_average_of_those_after_every_step(
    network: str, side: int
) -> None:
    trained = build(AVERAGED.changed({"network": network}), side)
    assert trained.averaged is not None
    after: list[dict[str, Tensor]] = []
    run_epochs(trained, 1, split(40, side), lambda: after.append(numbers(trained.network)))
    expected = after[0]
    for found in after[1:]:
        expected = {name: 0.75 * expected[name] + 0.25 * found[name] for name in expected}
    assert len(after) == 5
    torch.testing.assert_close(numbers(trained.averaged.module), expected)


def test_the_first_step_is_copied_into_the_average() -> None:
    trained = build(AVERAGED)
    run_epochs(trained, 1, split(8))
    assert trained.averaged is not None
    torch.testing.assert_close(numbers(trained.averaged.module), numbers(trained.network), rtol=0, atol=0)


def test_without_averaging_the_network_itself_is_measured() -> None:
    trained = build()
    assert trained.averaged is None
    assert trained.best_network is trained.network


def test_averaged_weights_are_what_is_saved_and_measured(tmp_path: Path) -> None:
    recipe = RECIPE.changed({"stages": [Stage(1, 16, 0.05)], "ema": 0.5, "precision": "fp32"})
    result = quick_train(tmp_path, recipe)
    saved, state = checkpoint.load(result.path), load_file(resume.state_path(tmp_path))
    for name, tensor in saved.weights.items():
        assert torch.equal(tensor, state[f"averaged.module.{name}"])
    assert any(not torch.equal(tensor, state[f"network.{name}"]) for name, tensor in saved.weights.items())
    classifier, held = saved.build_classifier(), loop.part(recipe, pictures(), 0).held
    measured = cross_entropy(predict(classifier.network, classifier.preprocess, held.images), held.labels)
    assert result.metadata.history[0]["validation_loss"] == pytest.approx(float(measured))


@pytest.mark.parametrize(("fresh", "steps"), [(True, [2, 4, 2, 4]), (False, [2, 4, 6, 8])])
def test_a_fresh_optimiser_forgets_where_a_stage_begins_and_only_there(fresh: bool, steps: list[int]) -> None:
    two_stages = (Stage(2, 4, 1e-3), Stage(2, 4, 1e-4))
    trained = build(PLAIN.changed({"optimizer": "adam", "stages": two_stages, "fresh_optimizer": fresh}))
    counted: list[int] = []

    def count() -> None:
        (number,) = {int(state["step"]) for state in trained.optimizers[0].state.values()}
        counted.append(number)

    run_epochs(trained, 4, split(8), count)
    assert counted[1::2] == steps


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_after_a_softmax_in_the_network_even_perfect_certainty_costs(classes: int) -> None:
    sure = torch.zeros(1, classes).index_fill(1, torch.tensor([1]), 1000.0)
    right = torch.tensor([1])
    assert loss(PLAIN, sure, right) == 0.0
    least = -math.log(math.e / (math.e + classes - 1))
    assert loss(PLAIN.changed({"softmax_in_network": True}), sure, right) == pytest.approx(least)


def test_the_documents_loss_was_stuck_at_one_and_a_half() -> None:
    sure = torch.eye(10) * 1000
    found = loss(PLAIN.changed({"softmax_in_network": True}), sure, torch.arange(10))
    assert found == pytest.approx(1.4612, abs=5e-5)


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_every_group_of_weights_has_the_rate_of_the_step(schedule: str) -> None:
    trained, fit = build(PLAIN.changed({"schedule": schedule})), split(40)
    rates: list[set[float]] = []
    run_epochs(trained, 1, fit, lambda: rates.append({group["lr"] for group in groups(trained)}))
    assert rates == [{rate} for rate in plan_epoch(trained, 0, fit, []).rates]


def test_biases_and_norms_may_learn_at_another_rate() -> None:
    trained = build(PLAIN.changed({"bias_rate": 4.0}))
    filled(trained, 0.0)
    optimizers.set_rate(trained.optimizers, 0.5)
    step(trained, gradient=1.0)
    assert values(trained) == ({-0.5}, {-2.0})


def test_muon_takes_every_weight_as_a_matrix_and_leaves_biases_to_sgd() -> None:
    trained = build(MUON, side=20)
    muon, sgd = trained.optimizers
    assert (type(muon), type(sgd)) == (Muon, SGD)
    weights = [p for p in trained.network.parameters() if p.ndim > 1]
    matrices = [p for group in muon.param_groups for p in group["params"]]
    assert [tuple(m.shape) for m in matrices] == [(len(w), w[0].numel()) for w in weights]
    assert [m.data_ptr() for m in matrices] == [w.data_ptr() for w in weights]
    assert sum(len(group["params"]) for group in sgd.param_groups) == len(list(trained.network.parameters())) - len(
        weights
    )


def test_muon_moves_a_weight_as_it_moves_the_matrix_of_its_filters() -> None:
    trained = build(MUON, side=20)
    weight = next(p for p in trained.network.parameters() if p.ndim == 4)
    before = weight.detach().clone().flatten(1)
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    alone = nn.Parameter(before.clone())
    alone.grad = gradient.flatten(1).clone()
    reference = Muon([alone], lr=0.5, momentum=0.5, weight_decay=0.0)
    optimizers.set_rate(trained.optimizers, 0.5)
    weight.grad = gradient.clone(memory_format=torch.preserve_format)
    trained.optimizers[0].step()
    reference.step()
    # The filters' inputs are in another order, which changes what bf16 rounds inside.
    torch.testing.assert_close(weight.detach().flatten(1), alone.detach(), atol=0.02, rtol=0)
    assert not torch.equal(weight.detach().flatten(1), before)


def test_muon_learns() -> None:
    (first, *_, last) = run_epochs(build(MUON.changed({"stages": [Stage(6, 8, 0.05)]}), side=20), 6, split(40, 20))
    assert last["train_loss"] < first["train_loss"]


def test_a_mixed_picture_is_learned_as_what_it_is_made_of() -> None:
    trained, fit = build(PLAIN.changed({"cutmix": 1.0})), split(8)
    plan = plan_epoch(trained, 0, fit, [])
    box, partner = torch.tensor([[0, 2, 0, 2]] * 8), (torch.arange(8) + 1) % 8
    plan = replace(plan, draws=replace(plan.draws, box=box, partner=partner))
    mixed = fit.images.clone()
    mixed[:, :2, :2] = fit.images[partner][:, :2, :2]
    answers = logits(trained, Split(mixed, fit.labels))
    own, lent = (cross_entropy(answers, labels).item() for labels in (fit.labels, fit.labels[partner]))
    sums = take_step(trained, plan, fit, torch.arange(8), 0.25)
    assert float(sums[0]) == pytest.approx(8 * (12 * own + 4 * lent) / 16)
    assert int(sums[1]) == int((answers.argmax(dim=1) == fit.labels).sum())


def test_an_alternating_flip_takes_the_place_of_a_random_one() -> None:
    trained, fit = build(PLAIN.changed({"alternate_flip": True, "stages": [Stage(2, 8, 0.5)]})), split(8)
    for number in (0, 1):
        expected = alternating_flip(8, trained.seed, number)
        assert torch.equal(plan_epoch(trained, number, fit, []).draws.flip, expected)
