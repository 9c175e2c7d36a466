"""The training loop: `train` fits a recipe's network to a data set and leaves one checkpoint, the best epoch's.

`trainee.py` says what is trained, `epoch.py` what an epoch does, `run_folder.py` what is left in the run's folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training import ancestry, checkpoint, device, distributed, epoch, initial, provenance, resume, run_folder, trainee
from training.checkpoint import Checkpoint, Metadata
from training.data.dataset import Dataset
from training.data.sources import channel_statistics, hold_out, hold_out_count, limit
from training.distributed import Processes
from training.epoch import TrainingError
from training.recipe import Recipe
from training.reports import events, pictures, progress, trace
from training.resume import Epoch
from training.run_folder import Parts
from training.trainee import Trainee


@dataclass(frozen=True)
class Result:
    """The checkpoint a run left, and what it says of itself."""

    path: Path
    metadata: Metadata


@dataclass(frozen=True)
class Extras:
    """What a run may have beside its recipe."""

    starts: tuple[Checkpoint, ...] = ()  # begin with these weights, or their mean
    teachers: tuple[Checkpoint, ...] = ()  # learn from these networks too
    processes: Processes = distributed.SINGLE
    compiled: bool = False
    profiled: bool = False  # leave a trace of ten steps in the run's folder


def train(
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    *,
    on: torch.device,
    seed: int = 0,
    go_on: bool = False,
    extras: Extras | None = None,
) -> Result:
    """Train in the folder `run`; with `go_on`, continue after the last epoch that was finished there.

    Raises TrainingError, ResumeError or DataError before any work where the run cannot start, and TrainingError where
    the loss is no longer a number.
    """
    extras = extras or Extras()
    path = run_folder.checkpoint_path(run)
    if not go_on and path.exists():
        raise TrainingError(f"{run} holds a run already: go on with --resume, or choose another --out")
    parts = part(recipe, dataset, seed)
    _refuse_misfit(recipe, dataset, parts, extras)
    metadata = _with_ancestors(_describe(recipe, dataset, parts, seed, on, extras.processes), extras)
    trained = trainee.build(
        recipe,
        metadata,
        parts.fit.images,
        on,
        weights=initial.mean_weights([start.weights for start in extras.starts]) if extras.starts else None,
        teachers=extras.teachers,
        processes=extras.processes,
        compiled=extras.compiled,
    )
    history = _resumed(run, metadata, trained) if go_on else []
    if history and run_folder.is_finished(run):
        return Result(path, checkpoint.load(path).metadata)
    with _watched(run, len(history), extras) as (writer, after_step):
        _run_epochs(trained, metadata, parts, run, history, writer, after_step)
        if writer is not None:
            run_folder.finish(run, parts, history, on, writer)
    extras.processes.wait()
    return Result(path, checkpoint.load(path).metadata)


def part(recipe: Recipe, dataset: Dataset, seed: int) -> Parts:
    """The pictures to fit to, to select on and to report on. Raises DataError where a class has too few."""
    if recipe.validation_images is None:
        fit, held = hold_out(dataset.train, recipe.validation_share, seed)
    else:
        fit, held = hold_out_count(dataset.train, recipe.validation_images, seed)
    return Parts(limit(fit, recipe.train_images, seed), held, limit(dataset.test, recipe.test_images, seed))


def _refuse_misfit(recipe: Recipe, dataset: Dataset, parts: Parts, extras: Extras) -> None:
    if recipe.distillation and not extras.teachers:
        raise TrainingError("this recipe learns from a teacher: name its checkpoint with --teacher")
    if extras.teachers and not recipe.distillation:
        raise TrainingError("this recipe learns from no teacher: add, say, --set distillation=0.5, or leave it out")
    processes = extras.processes
    needed = 2 * processes.count
    if len(parts.fit) < needed:
        raise TrainingError(f"batch norm needs {needed} pictures to fit to; there are {len(parts.fit)}")
    if len(parts.held) < processes.count:
        raise TrainingError(f"{processes.count} processes cannot share {len(parts.held)} validation picture(s)")
    smallest = min(stage.batch_size for stage in recipe.stages)
    if smallest < needed:
        raise TrainingError(f"{processes.count} processes need batches of at least {needed}; one stage has {smallest}")
    for name in ("crop_padding", "cutout"):
        if getattr(recipe, name) >= dataset.size:
            raise TrainingError(f"{name} {getattr(recipe, name)} must be less than the pictures' side, {dataset.size}")


def _describe(
    recipe: Recipe, dataset: Dataset, parts: Parts, seed: int, on: torch.device, processes: Processes
) -> Metadata:
    mean, std = channel_statistics(dataset.train.images)
    as_json = recipe.as_json()
    counts = {"fit": len(parts.fit), "validation": len(parts.held), "test": len(parts.test)}
    return Metadata(
        network=recipe.network,
        arguments=as_json["arguments"],
        classes=list(dataset.classes),
        size=dataset.size,
        channels=dataset.channels,
        mean=list(mean),
        std=list(std),
        recipe=as_json,
        seed=seed,
        data={
            "name": dataset.name,
            **counts,
            "pictures_sha256": dataset.train.sha256(),
            "held_sha256": parts.held.sha256(),
        },
        provenance={
            "device": device.describe(on, exact=recipe.precision == "fp32"),
            "processes": processes.count,
            "versions": provenance.versions(),
            "commit": provenance.git_commit(),
        },
    )


def _with_ancestors(metadata: Metadata, extras: Extras) -> Metadata:
    if extras.starts:
        metadata = ancestry.continued(metadata, extras.starts)
    return ancestry.taught(metadata, extras.teachers) if extras.teachers else metadata


def _resumed(run: Path, metadata: Metadata, trained: Trainee) -> list[Epoch]:
    """Put a trainee where the run in `run` stopped. Returns the finished epochs."""
    best = run_folder.checkpoint_path(run)
    has_only_checkpoint = best.exists() and not resume.state_path(run).exists()
    if has_only_checkpoint and not run_folder.is_finished(run):
        return []  # killed in the first epoch, between checkpoint and state: start again
    state = resume.load(run, run_folder.identity(metadata))
    resume.restore(state, trained)
    if not best.exists():
        raise TrainingError(f"{run} has lost its checkpoint.safetensors: start again with another --out")
    return state.history


@contextmanager
def _watched(run: Path, finished: int, extras: Extras) -> Iterator[tuple[SummaryWriter | None, Callable[[], None]]]:
    """What looks on: a TensorBoard writer in the first process, and what to call after every step."""
    if not extras.processes.is_first:
        yield None, lambda: None
        return
    run.mkdir(parents=True, exist_ok=True)
    tracer = trace.traced(run / "trace.json") if extras.profiled else nullcontext(lambda: None)
    with events.opened(run, finished) as writer, tracer as after_step:
        yield writer, after_step


def _run_epochs(
    trained: Trainee,
    metadata: Metadata,
    parts: Parts,
    run: Path,
    history: list[Epoch],
    writer: SummaryWriter | None,
    after_step: Callable[[], None],
) -> None:
    """Run the epochs that `history` lacks, and append them to it."""
    recipe = trained.recipe
    fit, held = parts.fit.to(trained.device), parts.held.to(trained.device)
    total, done = len(fit) * recipe.epochs, len(fit) * len(history)
    with tqdm(total=total, initial=done, disable=writer is None, **progress.bar_style()) as bar:
        while len(history) < recipe.epochs:
            if writer is not None and not history:
                events.add_picture(writer, "augmented pictures", pictures.grid(epoch.preview(trained, fit)), 0)
            history.append(epoch.run_epoch(trained, history, fit, held, bar, after_step))
            if writer is not None:
                bar.write(progress.epoch_line(history[-1], recipe.epochs))
                events.add_epoch(writer, history[-1])  # before the state: a resumed run hides what it will do again
                run_folder.save_epoch(run, metadata, trained, history)
