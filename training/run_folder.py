"""What a run leaves in its folder: the best epoch's checkpoint, each stage's weights, measures and pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from training import ancestry, calibration, checkpoint, energy, evaluate, resume, storage
from training.checkpoint import Checkpoint, Metadata
from training.data.dataset import Split
from training.files import write_atomically
from training.recipe import Stage
from training.reports import card, events, pictures, progress
from training.resume import Epoch
from training.trainee import Trainee


@dataclass(frozen=True)
class Parts:
    """The pictures to fit to, to select on and to report on."""

    fit: Split
    held: Split
    test: Split


def checkpoint_path(run: Path) -> Path:
    """Where a run keeps the weights of its best epoch."""
    return run / "checkpoint.safetensors"


def card_path(run: Path) -> Path:
    """Where a run keeps its model card."""
    return run / "card.md"


def is_begun(run: Path) -> bool:
    """Whether there is something to go on from."""
    return checkpoint_path(run).exists() or resume.state_path(run).exists()


def is_finished(run: Path) -> bool:
    """Whether the test split was read: the last thing a run does."""
    return "test" in checkpoint.load(checkpoint_path(run)).metadata.accuracy


def stage_path(run: Path, number: int, stage: Stage) -> Path:
    """Where a stage (its number from 0) leaves its weights; the name tells its epochs and its rate."""
    return run / "stages" / f"stage-{number + 1}-epochs-{stage.epochs}-rate-{stage.learning_rate:g}.safetensors"


def identity(metadata: Metadata) -> dict[str, Any]:
    """What a resumed run must have in common with the run it continues."""
    shared = ("recipe", "seed", "data", "classes", "size", "channels", "mean", "std")
    own = {name: getattr(metadata, name) for name in shared}
    own["begun_with"] = [run["weights_sha256"] for run in ancestry.chain(metadata)]
    # Only where there is one: states that were written before there were any have no such entries.
    mean_of = [run["weights_sha256"] for run in ancestry.averaged(metadata)]
    taught_by = sorted(run["weights_sha256"] for run in ancestry.teachers(metadata))
    return own | ({"mean_of": mean_of} if mean_of else {}) | ({"taught_by": taught_by} if taught_by else {})


def save_epoch(run: Path, metadata: Metadata, trainee: Trainee, history: list[Epoch]) -> None:
    """Leave the files of a finished epoch; metrics.jsonl comes last, when the epoch cannot be lost any more."""
    measured = {"validation": history[-1]["validation_accuracy"]}
    found = replace(metadata, accuracy=measured, history=_without_readings(history))
    weights = storage.stored(trainee.best_network.state_dict(), trainee.recipe.stored_as)
    if progress.best_epoch(history) is history[-1]:
        checkpoint.save(checkpoint_path(run), found, weights)
    number, done = trainee.recipe.stage_at(len(history) - 1)
    stage = trainee.recipe.stages[number]
    if done == stage.epochs - 1:
        checkpoint.save(stage_path(run, number, stage), found, weights)
    resume.save(run, trainee, identity(metadata), history)
    progress.write_metrics(run / "metrics.jsonl", history)


def finish(run: Path, parts: Parts, history: list[Epoch], on: torch.device, writer: SummaryWriter) -> None:
    """Calibrate the best epoch's weights, read the test split, once, and draw what the run has shown; all in fp32.

    The checkpoint comes last: with the test accuracy in it the run is finished. A trial, whose recipe wants no test
    picture, leaves its curves alone, and is never finished in that sense: it has no card and cannot be exported.
    """
    best = checkpoint.load(checkpoint_path(run))
    if not len(parts.test):
        _finish_trial(run, best, history)
        return
    classifier = best.build_classifier().to(on)
    held_logits = evaluate.predict(classifier.network, classifier.preprocess, parts.held.images.to(on)).cpu()
    calibrated = replace(
        best.metadata,
        temperature=calibration.fit_temperature(held_logits, parts.held.labels),
        energy_threshold=energy.fit_threshold(held_logits.numpy()),
    )
    found = evaluate.evaluate(classifier, calibrated, parts.test.to(on), tuple(calibrated.classes))
    metadata = replace(
        calibrated,
        history=_without_readings(history),
        accuracy=calibrated.accuracy | {"test": found.accuracy},
        measures=found.measures(),
    )
    confusion = pictures.confusion(found.confusion, found.classes)
    progress.write_metrics(run / "metrics.jsonl", history)
    write_atomically(run / "curves.png", pictures.curves(history))
    write_atomically(run / "confusion.png", confusion)
    write_atomically(run / "reliability.png", pictures.reliability(found.calibration))
    write_atomically(run / "mistakes.png", _mistakes(parts.held, held_logits, metadata))
    write_card(run, metadata)
    # A step that is hidden if the run is stopped before the next line and resumed.
    events.add_picture(writer, "confusion matrix, test", confusion, len(history) + 1)
    checkpoint.save(checkpoint_path(run), metadata, best.weights)


def write_card(run: Path, metadata: Metadata) -> None:
    """Leave the model card of a finished run."""
    write_atomically(card_path(run), card.model_card(run.resolve().name, metadata).encode())


def _finish_trial(run: Path, best: Checkpoint, history: list[Epoch]) -> None:
    """Leave what a run without test pictures has shown."""
    progress.write_metrics(run / "metrics.jsonl", history)
    write_atomically(run / "curves.png", pictures.curves(history))
    checkpoint.save(checkpoint_path(run), replace(best.metadata, history=_without_readings(history)), best.weights)


def _mistakes(held: Split, logits: Tensor, metadata: Metadata) -> bytes:
    """The worst of them on the pictures held out: the test pictures are for figures, not for looking at."""
    probabilities = torch.softmax(logits / metadata.temperature, dim=1)
    return pictures.mistakes(held.images.cpu(), held.labels.cpu(), probabilities, metadata.classes)


def _without_readings(history: list[Epoch]) -> list[Epoch]:
    """The history as a checkpoint keeps it: one number a measure; what lies within an epoch is in metrics.jsonl."""
    return [{name: value for name, value in epoch.items() if name != "readings"} for epoch in history]
