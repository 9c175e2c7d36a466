"""The training loop: `train` fits a recipe's network to a data set and leaves one checkpoint, the best epoch's.

`epoch.py` says what an epoch does, `trainee.py` what is trained; here is what a run reads and leaves in its folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training import checkpoint, device, distributed, provenance, report, resume, trainee
from training.checkpoint import Metadata
from training.classifier import Preprocess
from training.data import Dataset, Split, channel_statistics, hold_out, limit
from training.distributed import Processes
from training.epoch import TrainingError, run_epoch
from training.evaluate import accuracy, predict
from training.files import write_atomically
from training.recipe import Recipe, Stage
from training.trainee import Trainee


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
    go_on: bool = False,
    processes: Processes = distributed.SINGLE,
) -> Result:
    """Train in the folder `run`; with `go_on`, continue after the last epoch that was finished there.

    Raises TrainingError, ResumeError or DataError before any work where the run cannot start, and TrainingError where
    the loss is no longer a number.
    """
    if not go_on and (run / "checkpoint.safetensors").exists():
        raise TrainingError(f"{run} holds a run already: go on with --resume, or choose another --out")
    fit, held = split(recipe, dataset, seed)
    test = limit(dataset.test, recipe.test_images, seed)
    _refuse_misfit(recipe, dataset, fit, held, processes)
    metadata = _describe(recipe, dataset, (fit, held, test), seed, on)
    trained = trainee.build(recipe, metadata, fit.images, on, processes=processes)
    identity = _identity(metadata)
    history: list[resume.Epoch] = []
    if go_on and not _was_killed_in_its_first_epoch(run):
        state = resume.load(run, identity)
        resume.restore(state, trained)
        history = state.history
        if not (run / "checkpoint.safetensors").exists():
            raise TrainingError(f"{run} has lost its checkpoint.safetensors: start again with another --out")

    run.mkdir(parents=True, exist_ok=True)
    fit, held = fit.to(on), held.to(on)
    with tqdm(total=len(fit) * recipe.epochs, initial=len(fit) * len(history), **report.bar_style()) as bar:
        while len(history) < recipe.epochs:
            _begin_stage(trained, len(history))
            history.append(run_epoch(trained, history, fit, held, bar))
            bar.write(report.epoch_line(history[-1], recipe.epochs))
            _save(run, metadata, trained, identity, history)
    return _finish(run, test, history, on)


def split(recipe: Recipe, dataset: Dataset, seed: int) -> tuple[Split, Split]:
    """The training pictures to fit and those to select on."""
    share = recipe.validation_share
    if recipe.validation_images is not None:
        if recipe.validation_images >= len(dataset.train):
            raise TrainingError(
                f"validation_images {recipe.validation_images} leaves none of {len(dataset.train)} pictures to fit"
            )
        share = recipe.validation_images / len(dataset.train)
    fit, held = hold_out(dataset.train, share, seed)
    return limit(fit, recipe.train_images, seed), held


def _was_killed_in_its_first_epoch(run: Path) -> bool:
    """Whether there is a checkpoint, but neither a state to go on from nor a finished run: then it starts again."""
    best = run / "checkpoint.safetensors"
    if resume.state_path(run).exists() or not best.exists():
        return False
    return "test" not in checkpoint.load(best).metadata.accuracy


def _refuse_misfit(recipe: Recipe, dataset: Dataset, fit: Split, held: Split, processes: Processes) -> None:
    if len(fit) < 2 * processes.count:
        needed = 2 * processes.count
        raise TrainingError(f"batch norm needs {needed} pictures to fit, 2 for each process; there are {len(fit)}")
    if len(held) < processes.count:
        raise TrainingError(f"{processes.count} processes cannot share {len(held)} validation picture(s): use fewer")
    if recipe.crop_padding >= dataset.size:
        raise TrainingError(f"crop_padding {recipe.crop_padding} must be less than the pictures' side, {dataset.size}")


def _describe(
    recipe: Recipe, dataset: Dataset, parts: tuple[Split, Split, Split], seed: int, on: torch.device
) -> Metadata:
    mean, std = channel_statistics(dataset.train.images)
    counts = dict(zip(("fit", "validation", "test"), map(len, parts), strict=True))
    return Metadata(
        network=recipe.network,
        arguments=dict(recipe.arguments),
        classes=list(dataset.classes),
        size=dataset.size,
        channels=dataset.channels,
        mean=list(mean),
        std=list(std),
        recipe=recipe.as_json(),
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


def _begin_stage(trained: Trainee, epoch: int) -> None:
    _, done = trained.recipe.stage_at(epoch)
    if done == 0 and trained.recipe.fresh_optimizer:
        trained.optimizer.state.clear()


def _save(
    run: Path, metadata: Metadata, trained: Trainee, identity: dict[str, Any], history: list[resume.Epoch]
) -> None:
    """Leave the files of a finished epoch; metrics.jsonl comes last, when the epoch cannot be lost any more."""
    measured = {"validation": history[-1]["validation_accuracy"]}
    found = replace(metadata, accuracy=measured, history=_without_readings(history))
    weights = trained.best_network.state_dict()
    if report.best_epoch(history) is history[-1]:
        checkpoint.save(run / "checkpoint.safetensors", found, weights)
    number, done = trained.recipe.stage_at(len(history) - 1)
    stage = trained.recipe.stages[number]
    if done == stage.epochs - 1:
        checkpoint.save(run / "stages" / stage_file(number, stage), found, weights)
    resume.save(run, trained, identity, history)
    report.write_metrics(run / "metrics.jsonl", history)


def stage_file(number: int, stage: Stage) -> str:
    """The name of the weights that a stage leaves: its number from 1, its epochs and its rate."""
    return f"stage-{number + 1}-epochs-{stage.epochs}-rate-{stage.learning_rate:g}.safetensors"


def _without_readings(history: list[resume.Epoch]) -> list[resume.Epoch]:
    """The history as a checkpoint keeps it: one number a measure, what lies within an epoch is in metrics.jsonl."""
    return [{name: value for name, value in epoch.items() if name != "readings"} for epoch in history]


def _finish(run: Path, test: Split, history: list[resume.Epoch], on: torch.device) -> Result:
    """Read the test split, once and in fp32, with the best epoch's weights, and draw the run's picture."""
    path = run / "checkpoint.safetensors"
    best = checkpoint.load(path)
    metadata = best.metadata
    if "test" not in metadata.accuracy:
        network = best.build_network().to(on)
        logits = predict(network, Preprocess(metadata.mean, metadata.std).to(on), test.images.to(on))
        share = accuracy(logits, test.labels.to(on))
        metadata = replace(metadata, history=_without_readings(history), accuracy=metadata.accuracy | {"test": share})
        checkpoint.save(path, metadata, best.weights)
    report.write_metrics(run / "metrics.jsonl", history)
    write_atomically(run / "curves.png", report.curves(history))
    return Result(path, checkpoint.load(path).metadata)
