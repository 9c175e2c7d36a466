"""The training loop: `train` fits a recipe's network to a data set and leaves one checkpoint, the best epoch's.

The pictures stay on the device as uint8; a batch is gathered, augmented and normalised there. Every epoch starts from
a seed of its own, so a resumed run draws what an uninterrupted one would have drawn.
"""

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from training import checkpoint, device, networks, provenance, report, resume
from training.augment import Draws, augment, draw
from training.checkpoint import Metadata
from training.classifier import Preprocess
from training.data import Dataset, Split, channel_statistics, hold_out, limit
from training.evaluate import accuracy, predict
from training.files import write_atomically
from training.recipes import Recipe, learning_rate_factor

STEPS_BETWEEN_READINGS = 20  # reading the loss waits for the device, so it is read seldom


class TrainingError(Exception):
    """Training cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Trainee:
    """A network in training: what it is trained by, what feeds it and what moves its weights."""

    recipe: Recipe
    seed: int
    network: nn.Module
    preprocess: Preprocess
    optimizer: torch.optim.SGD
    device: torch.device


@dataclass(frozen=True)
class Result:
    """The checkpoint a run left, and what it says of itself."""

    path: Path
    metadata: Metadata


def train(
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    *,
    on: torch.device,
    seed: int = 0,
    limit_train: int | None = None,
    go_on: bool = False,
) -> Result:
    """Train in the folder `run`; with `go_on`, continue after the last epoch that was finished there.

    Raises TrainingError, ResumeError or DataError before any work where the run cannot start, and TrainingError where
    the loss is no longer a number.
    """
    if not go_on and (run / "checkpoint.safetensors").exists():
        raise TrainingError(f"{run} holds a run already: go on with --resume, or choose another --out")
    fit, held = hold_out(dataset.train, recipe.validation_share, seed)
    fit = limit(fit, limit_train, seed)
    _refuse_misfit(recipe, dataset, fit)
    metadata = _describe(recipe, dataset, fit, held, seed, on)
    trainee = _trainee(recipe, metadata, on)
    identity = _identity(metadata)
    history: list[resume.Epoch] = []
    if go_on and not _was_killed_in_its_first_epoch(run):
        state = resume.load(run, identity)
        resume.restore(state, trainee.network, trainee.optimizer)
        history = state.history
        if not (run / "checkpoint.safetensors").exists():
            raise TrainingError(f"{run} has lost its checkpoint.safetensors: start again with another --out")

    run.mkdir(parents=True, exist_ok=True)
    fit, held = fit.to(on), held.to(on)
    with tqdm(total=len(fit) * recipe.epochs, initial=len(fit) * len(history), **report.bar_style()) as bar:
        while len(history) < recipe.epochs:
            history.append(_epoch(trainee, len(history), fit, held, bar))
            bar.write(report.epoch_line(history[-1], recipe.epochs))
            if report.best_epoch(history) is history[-1]:
                _save_best(run, metadata, trainee.network, history)
            resume.save(run, trainee.network, trainee.optimizer, identity, history)
            report.write_metrics(run / "metrics.jsonl", history)
    return _finish(run, dataset.test, history, on)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's random numbers: a prime apart, so that runs with neighbouring seeds share none."""
    return seed * 1_000_003 + epoch


def _was_killed_in_its_first_epoch(run: Path) -> bool:
    """Whether there is a checkpoint, but neither a state to go on from nor a finished run: then it starts again."""
    best = run / "checkpoint.safetensors"
    if resume.state_path(run).exists() or not best.exists():
        return False
    return "test" not in checkpoint.load(best).metadata.accuracy


def _refuse_misfit(recipe: Recipe, dataset: Dataset, fit: Split) -> None:
    if len(fit) < 2:
        raise TrainingError("batch norm needs at least 2 pictures to fit; there is one")
    if recipe.crop_padding >= dataset.size:
        raise TrainingError(f"crop_padding {recipe.crop_padding} must be less than the pictures' side, {dataset.size}")


def _describe(recipe: Recipe, dataset: Dataset, fit: Split, held: Split, seed: int, on: torch.device) -> Metadata:
    mean, std = channel_statistics(dataset.train.images)
    counts = {"fit": len(fit), "validation": len(held), "test": len(dataset.test)}
    return Metadata(
        network=recipe.network,
        arguments=dict(recipe.arguments),
        classes=list(dataset.classes),
        size=dataset.size,
        channels=dataset.channels,
        mean=list(mean),
        std=list(std),
        recipe=asdict(recipe) | {"stages": [asdict(stage) for stage in recipe.stages]},
        seed=seed,
        data={"name": dataset.name, **counts},
        provenance={
            "device": device.describe(on),
            "versions": provenance.versions(),
            "commit": provenance.git_commit(),
        },
    )


def _identity(metadata: Metadata) -> dict[str, Any]:
    """What a resumed run must have in common with the run it continues."""
    shared = ("recipe", "seed", "data", "classes", "size", "channels", "mean", "std")
    return {name: getattr(metadata, name) for name in shared}


def _trainee(recipe: Recipe, metadata: Metadata, on: torch.device) -> Trainee:
    torch.manual_seed(metadata.seed)
    network = networks.build(
        recipe.network,
        classes=len(metadata.classes),
        channels=metadata.channels,
        size=metadata.size,
        **recipe.arguments,
    )
    # Convolutions on CUDA and CPU are faster on NHWC memory; MPS gains nothing from it.
    layout = torch.contiguous_format if on.type == "mps" else torch.channels_last
    network = network.to(on, memory_format=layout)  # type: ignore[call-overload]
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    nesterov = recipe.momentum > 0
    optimizer = torch.optim.SGD(groups, lr=recipe.stages[0].learning_rate, momentum=recipe.momentum, nesterov=nesterov)
    preprocess = Preprocess(metadata.mean, metadata.std).to(on)
    return Trainee(recipe, metadata.seed, network, preprocess, optimizer, on)


def _epoch(trainee: Trainee, epoch: int, fit: Split, held: Split, bar: "tqdm[Any]") -> resume.Epoch:
    """One pass over the pictures to fit, and the measure of it on the pictures held out."""
    began = time.perf_counter()
    torch.manual_seed(epoch_seed(trainee.seed, epoch))
    generator = torch.Generator().manual_seed(epoch_seed(trainee.seed, epoch))
    stage, done = trainee.recipe.stage_at(epoch)
    batches = _batches(torch.randperm(len(fit), generator=generator).to(trainee.device), stage.batch_size)
    draws = draw(len(fit), fit.images.shape[1], trainee.recipe, generator).to(trainee.device)
    rates = [
        stage.learning_rate * learning_rate_factor(trainee.recipe.schedule, (done + i / len(batches)) / stage.epochs)
        for i in range(len(batches))
    ]
    steps = list(zip(batches, rates, strict=True))
    loss, share = _fit(trainee, epoch, fit, draws, steps, bar)
    seconds = time.perf_counter() - began

    trainee.network.eval()
    with device.mixed_precision(trainee.device):
        logits = predict(trainee.network, trainee.preprocess, held.images)
    validation_loss = cross_entropy(logits, held.labels).item()
    _refuse_nan(validation_loss, epoch, len(steps) - 1)
    return {
        "epoch": epoch + 1,
        "train_loss": loss,
        "train_accuracy": share,
        "validation_loss": validation_loss,
        "validation_accuracy": accuracy(logits, held.labels),
        "learning_rate": rates[-1],
        "images_per_second": len(fit) / seconds,
        "seconds": time.perf_counter() - began,
    }


def _fit(
    trainee: Trainee, epoch: int, fit: Split, draws: Draws, steps: list[tuple[Tensor, float]], bar: "tqdm[Any]"
) -> tuple[float, float]:
    """Take the steps (indices of a batch, learning rate); returns mean loss and accuracy as the network went along."""
    recipe, optimizer = trainee.recipe, trainee.optimizer
    fill = _mean_colour(trainee)
    totals = torch.zeros(2, device=trainee.device)
    seen = 0
    trainee.network.train()
    for step, (batch, rate) in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = augment(fit.images[batch], draws.take(batch), recipe.cutout, fill)
        labels = fit.labels[batch]
        with device.mixed_precision(trainee.device):
            logits = trainee.network(trainee.preprocess(images)).float()
        loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        totals += torch.stack((loss.detach() * len(batch), (logits.argmax(dim=1) == labels).sum()))
        seen += len(batch)
        bar.update(len(batch))
        if step % STEPS_BETWEEN_READINGS == 0 or step == len(steps) - 1:
            mean_loss, share = (totals / seen).tolist()
            _refuse_nan(mean_loss, epoch, step)
            bar.set_postfix_str(f"epoch {epoch + 1}, loss {mean_loss:.3f}, accuracy {share:.1%}", refresh=False)
    return mean_loss, share


def _mean_colour(trainee: Trainee) -> Tensor:
    """The training pictures' mean colour, uint8 [C]: what normalises to nearly zero."""
    scale, offset = trainee.preprocess.pixel_scale.flatten(), trainee.preprocess.pixel_offset.flatten()
    return (-offset / scale).round().to(torch.uint8)


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """`order` in batches of `size`; a last single picture is left out, because batch norm needs two."""
    return [batch for batch in order.split(size) if len(batch) > 1]


def _refuse_nan(loss: float, epoch: int, step: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in epoch {epoch + 1} by step {step + 1}; "
            "lower the learning rate. The best checkpoint so far is kept"
        )


def _save_best(run: Path, metadata: Metadata, network: nn.Module, history: list[resume.Epoch]) -> None:
    measured = {"validation": history[-1]["validation_accuracy"]}
    found = replace(metadata, accuracy=measured, history=history)
    checkpoint.save(run / "checkpoint.safetensors", found, network.state_dict())


def _finish(run: Path, test: Split, history: list[resume.Epoch], on: torch.device) -> Result:
    """Read the test split, once and in fp32, with the best epoch's weights, and draw the run's picture."""
    path = run / "checkpoint.safetensors"
    best = checkpoint.load(path)
    metadata = best.metadata
    if "test" not in metadata.accuracy:
        network = best.build_network().to(on)
        logits = predict(network, Preprocess(metadata.mean, metadata.std).to(on), test.images.to(on))
        share = accuracy(logits, test.labels.to(on))
        metadata = replace(metadata, history=history, accuracy=metadata.accuracy | {"test": share})
        checkpoint.save(path, metadata, best.weights)
    report.write_metrics(run / "metrics.jsonl", history)
    write_atomically(run / "curves.png", report.curves(history))
    return Result(path, checkpoint.load(path).metadata)
