"""One epoch: a pass over the pictures to fit, and the measure of it on the pictures held out.

The pictures stay on the device as uint8; a batch is gathered, augmented and normalised there. Every epoch starts from
a seed of its own, so a resumed run draws what an uninterrupted one would have drawn.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from tqdm import tqdm

from training import distillation, optimizers, schedule
from training.data.augment import Draws, alternating_flip, augment, cutmix, draw
from training.data.dataset import Split
from training.evaluate import predict
from training.recipe import Recipe
from training.resume import Epoch
from training.trainee import Trainee

STEPS_BETWEEN_READINGS = 20  # reading the loss waits for the device, so it is read seldom


class TrainingError(Exception):
    """Training cannot start or go on; the message says why and what to do."""


class Diverged(TrainingError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Plan:
    """What an epoch will do: batches (indices of pictures), the rate of each step, and every picture's draws."""

    number: int  # of the epoch, from 0
    batches: list[Tensor]
    rates: list[float]
    draws: Draws


def run_epoch(
    trainee: Trainee,
    history: Sequence[Epoch],
    fit: Split,
    held: Split,
    bar: "tqdm[Any]",
    after_step: Callable[[], None] = lambda: None,
) -> Epoch:
    """Run the epoch after `history`; `fit` and `held` are on the trainee's device. Raises TrainingError."""
    began = time.perf_counter()
    plan = plan_epoch(trainee, len(history), fit, [epoch["validation_accuracy"] for epoch in history])
    _, done = trainee.recipe.stage_at(plan.number)
    if done == 0 and trainee.recipe.fresh_optimizer:
        for optimizer in trainee.optimizers:
            optimizer.state.clear()
    readings = _fit(trainee, plan, fit, bar, after_step)
    seconds = time.perf_counter() - began
    validation_loss, validation_accuracy = _measure(trainee, held)
    _refuse_nan(validation_loss, plan.number, len(plan.batches) - 1)
    _, loss, share = readings.pop()
    return {
        "epoch": plan.number + 1,
        "train_loss": loss,
        "train_accuracy": share,
        "validation_loss": validation_loss,
        "validation_accuracy": validation_accuracy,
        "learning_rate": plan.rates[-1],
        "images_per_second": len(fit) / seconds,
        "seconds": time.perf_counter() - began,
        "readings": readings,
    }


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's random numbers: a prime apart, so that runs with neighbouring seeds share none."""
    return seed * 1_000_003 + epoch


def preview(trainee: Trainee, fit: Split, count: int = 36) -> Tensor:
    """The first pictures of the first epoch as the network will see them: uint8 [N, H, W, C]."""
    plan = plan_epoch(trainee, 0, fit, [])
    first = plan.batches[0][:count]
    return augment(fit.images[first], plan.draws.take(first), trainee.recipe, trainee.palette)


def plan_epoch(trainee: Trainee, epoch: int, fit: Split, accuracies: Sequence[float]) -> Plan:
    """Draw an epoch (its number from 0); `accuracies` are the validation accuracies of those before it."""
    recipe = trainee.recipe
    generator = torch.Generator().manual_seed(epoch_seed(trainee.seed, epoch))
    number, done = recipe.stage_at(epoch)
    stage = recipe.stages[number]
    order = torch.randperm(len(fit), generator=generator).to(trainee.device)
    # Batch norm needs two pictures in every process: a last batch with fewer is left out.
    batches = [batch for batch in order.split(stage.batch_size) if len(batch) >= 2 * trainee.processes.count]
    _, height, _, channels = fit.images.shape
    of_stage = accuracies[epoch - done :]
    draws = draw(len(fit), height, channels, recipe, generator)
    if recipe.alternate_flip:
        draws = replace(draws, flip=alternating_flip(len(fit), trainee.seed, epoch))
    progress = [done + step / len(batches) for step in range(len(batches))]
    return Plan(
        number=epoch,
        batches=batches,
        rates=[stage.learning_rate * schedule.factor(recipe, stage.epochs, at, of_stage) for at in progress],
        draws=draws.to(trainee.device),
    )


def _fit(
    trainee: Trainee, plan: Plan, fit: Split, bar: "tqdm[Any]", after_step: Callable[[], None]
) -> list[tuple[float, float, float]]:
    """Take the steps. Returns share of the epoch, loss and accuracy of each stretch, and of the whole at the end."""
    # Dropout must differ between processes; the first one's is that of a single process.
    torch.manual_seed(epoch_seed(trainee.seed, plan.number) + 500_009 * trainee.processes.rank)
    totals, before, seen = torch.zeros(2, device=trainee.device), [0.0, 0.0, 0], 0
    readings = []
    trainee.network.train()
    for step, batch in enumerate(plan.batches):
        totals += take_step(trainee, plan, fit, batch, plan.rates[step])
        seen += len(batch)
        bar.update(len(batch))
        after_step()
        if step % STEPS_BETWEEN_READINGS == 0 or step == len(plan.batches) - 1:
            now = [*trainee.processes.total(totals).tolist(), seen]
            _refuse_nan(now[0], plan.number, step)
            loss, right, count = (new - old for new, old in zip(now, before, strict=True))
            readings.append((seen / len(fit), loss / count, right / count))
            before = now
            mean, share = now[0] / seen, now[1] / seen
            bar.set_postfix_str(f"epoch {plan.number + 1}, loss {mean:.3f}, accuracy {share:.1%}", refresh=False)
    return [*readings, (1.0, mean, share)]


def take_step(trainee: Trainee, plan: Plan, fit: Split, batch: Tensor, rate: float) -> Tensor:
    """Take a step on this process's share of a batch. Returns the sum of the losses and the number of right answers."""
    recipe = trainee.recipe
    optimizers.set_rate(trainee.optimizers, rate)
    share = trainee.processes.share(batch)
    images, targets = _examples(trainee, plan.draws, fit, share)
    with trainee.mixed_precision():
        logits = trainee.forward(trainee.preprocess(images)).float()
        wanted = None if trainee.teachers is None else trainee.teachers(images)
    loss = _loss(recipe, logits, targets, smoothing=recipe.label_smoothing)
    if wanted is not None:
        lesson = distillation.loss(logits, wanted, recipe.distillation_temperature)
        loss = (1 - recipe.distillation) * loss + recipe.distillation * lesson
    trainee.network.zero_grad(set_to_none=True)
    # Gradients are averaged over the processes; their shares of a batch may differ by one picture.
    (loss * (len(share) * trainee.processes.count / len(batch))).backward()
    for optimizer in trainee.optimizers:
        optimizer.step()
    if trainee.averaged is not None:
        trainee.averaged.update_parameters(trainee.network)
    return torch.stack((loss.detach() * len(share), (logits.argmax(dim=1) == fit.labels[share]).sum()))


def _examples(trainee: Trainee, draws: Draws, fit: Split, share: Tensor) -> tuple[Tensor, Tensor]:
    """Augmented pictures uint8 [N, H, W, C], and labels int64 [N], or shares of the classes float32 [N, K]."""

    def augmented(indices: Tensor) -> Tensor:
        return augment(fit.images[indices], draws.take(indices), trainee.recipe, trainee.palette)

    images, labels = augmented(share), fit.labels[share]
    if not trainee.recipe.cutmix:
        return images, labels
    partner = draws.partner[share]
    images, kept = cutmix(images, augmented(partner), draws.box[share])
    own, lent = (one_hot(each, trainee.classes) for each in (labels, fit.labels[partner]))
    return images, own * kept[:, None] + lent * (1 - kept[:, None])


def _loss(recipe: Recipe, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    if recipe.softmax_in_network:
        logits = torch.softmax(logits, dim=1)
    return cross_entropy(logits, targets, label_smoothing=smoothing)


def _measure(trainee: Trainee, held: Split) -> tuple[float, float]:
    """Loss and accuracy on the pictures held out, which the processes share among them."""
    network, processes = trainee.best_network.eval(), trainee.processes
    processes.follow_first(network)
    images, labels = processes.share(held.images), processes.share(held.labels)
    with trainee.mixed_precision():
        logits = predict(network, trainee.preprocess, images)
    loss = _loss(trainee.recipe, logits, labels) * len(labels)
    sums = torch.stack((loss, (logits.argmax(dim=1) == labels).sum()))
    total_loss, right = processes.total(sums).tolist()
    return total_loss / len(held), right / len(held)


def _refuse_nan(loss: float, epoch: int, step: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} in epoch {epoch + 1} by step {step + 1}; "
            f"lower the learning rate. {'The best checkpoint so far is kept' if epoch else 'No epoch was finished'}"
        )
