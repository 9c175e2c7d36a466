"""The training loop: `train` fits a recipe's network to a data set and leaves one checkpoint, the best epoch's.

The pictures stay on the device as uint8; a batch is gathered, augmented and normalised there. Every epoch starts from
a seed of its own, so a resumed run draws what an uninterrupted one would have drawn.
"""

import math
import time
from collections.abc import Iterator
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
from training.files import write_atomically
from training.recipes import Recipe, Stage, learning_rate_factor

EVALUATION_BATCH = 500
STEPS_BETWEEN_READINGS = 20  # reading the loss waits for the device, so it is read seldom


class TrainingError(Exception):
    """Training cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Trainee:
    """A network with what turns pictures into its input and gradients into steps."""

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
    metadata = _describe(recipe, dataset, fit, held, seed, on)
    trainee = _trainee(recipe, metadata, seed, on)
    identity = _identity(metadata)
    history: list[resume.Epoch] = []
    if go_on:
        state = resume.load(run, identity)
        resume.restore(state, trainee.network, trainee.optimizer)
        history = state.history

    fit, held = fit.to(on), held.to(on)
    images = len(fit) * recipe.epochs
    with tqdm(total=images, initial=len(fit) * len(history), **report.bar_style()) as bar:
        for epoch, (stage, start) in list(enumerate(_plan(recipe)))[len(history) :]:
            history.append(_epoch(trainee, recipe, stage, start, fit, held, epoch, seed, bar))
            bar.write(report.epoch_line(history[-1], recipe.epochs))
            if report.best_epoch(history) is history[-1]:
                _save_best(run, metadata, trainee.network, history)
            resume.save(run, trainee.network, trainee.optimizer, identity, history)
            report.write_metrics(run / "metrics.jsonl", history)
    return _finish(run, dataset.test, history, on)


def predict(network: nn.Module, preprocess: Preprocess, images: Tensor) -> Tensor:
    """Logits float32 [N, K] of uint8 images [N, H, W, C], on the images' device. The network must be in eval mode."""
    with torch.inference_mode():
        return torch.cat([network(preprocess(batch)).float() for batch in images.split(EVALUATION_BATCH)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of pictures, in 0..1, whose largest logit is that of the label."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's random numbers: a prime apart, so that runs with neighbouring seeds share none."""
    return seed * 1_000_003 + epoch


def _plan(recipe: Recipe) -> Iterator[tuple[Stage, int]]:
    """For every epoch its stage and its number inside that stage."""
    for stage in recipe.stages:
        for start in range(stage.epochs):
            yield stage, start


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


def _trainee(recipe: Recipe, metadata: Metadata, seed: int, on: torch.device) -> Trainee:
    torch.manual_seed(seed)
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
    return Trainee(network, Preprocess(metadata.mean, metadata.std).to(on), optimizer, on)


def _epoch(
    trainee: Trainee,
    recipe: Recipe,
    stage: Stage,
    start: int,
    fit: Split,
    held: Split,
    epoch: int,
    seed: int,
    bar: "tqdm[Any]",
) -> resume.Epoch:
    """One pass over the pictures to fit, and the measure of it on the pictures held out."""
    began = time.perf_counter()
    torch.manual_seed(epoch_seed(seed, epoch))
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(len(fit), generator=generator).to(trainee.device)
    draws = draw(len(fit), fit.images.shape[1], recipe, generator).to(trainee.device)
    batches = _batches(order, stage.batch_size)
    rates = [
        stage.learning_rate * learning_rate_factor(recipe.schedule, (start + i / len(batches)) / stage.epochs)
        for i in range(len(batches))
    ]
    loss, share = _fit(trainee, recipe, fit, draws, batches, rates, bar, epoch)
    seconds = time.perf_counter() - began

    trainee.network.eval()
    with device.mixed_precision(trainee.device):
        logits = predict(trainee.network, trainee.preprocess, held.images)
    return {
        "epoch": epoch + 1,
        "train_loss": loss,
        "train_accuracy": share,
        "validation_loss": cross_entropy(logits, held.labels).item(),
        "validation_accuracy": accuracy(logits, held.labels),
        "learning_rate": rates[-1],
        "images_per_second": len(fit) / seconds,
        "seconds": time.perf_counter() - began,
    }


def _fit(
    trainee: Trainee,
    recipe: Recipe,
    fit: Split,
    draws: Draws,
    batches: list[Tensor],
    rates: list[float],
    bar: "tqdm[Any]",
    epoch: int,
) -> tuple[float, float]:
    """Step through the batches; returns mean loss and accuracy over the epoch as the network went through it."""
    fill = torch.tensor([round(255 * value) for value in _mean_colour(trainee)], dtype=torch.uint8)
    fill = fill.to(trainee.device)
    totals = torch.zeros(2, device=trainee.device)
    seen = 0
    trainee.network.train()
    for step, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
        for group in trainee.optimizer.param_groups:
            group["lr"] = rate
        images = augment(fit.images[batch], draws.take(batch), recipe.cutout, fill)
        labels = fit.labels[batch]
        with device.mixed_precision(trainee.device):
            logits = trainee.network(trainee.preprocess(images)).float()
        loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        trainee.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trainee.optimizer.step()
        totals += torch.stack((loss.detach() * len(batch), (logits.argmax(dim=1) == labels).sum()))
        seen += len(batch)
        bar.update(len(batch))
        if step % STEPS_BETWEEN_READINGS == 0 or step == len(batches) - 1:
            mean_loss, share = (totals / seen).tolist()
            _refuse_nan(mean_loss, epoch, step)
            bar.set_postfix_str(f"epoch {epoch + 1}, loss {mean_loss:.3f}, accuracy {share:.1%}", refresh=False)
    return mean_loss, share


def _mean_colour(trainee: Trainee) -> list[float]:
    scale, offset = trainee.preprocess.pixel_scale.flatten(), trainee.preprocess.pixel_offset.flatten()
    return (-offset / (255 * scale)).tolist()


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
