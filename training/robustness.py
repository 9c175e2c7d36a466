"""How a finished checkpoint stands up to changed pictures, and how many pictures it takes for unknown.

`measure` looks, `record` keeps the figures in the checkpoint and in the card beside it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from training import checkpoint, energy, evaluate, run_folder
from training.checkpoint import Checkpoint, CheckpointError, Metadata
from training.data.changes import CHANGES
from training.data.colour import LUMA
from training.data.dataset import Dataset
from training.reports import progress

NOISE_PICTURES = 2000
NOISE_SEED = 0

Predict = Callable[[Tensor], Tensor]  # uint8 [N, H, W, C] to float32 logits [N, K], both on the CPU


def measure(source: Checkpoint, dataset: Dataset, others: Dataset | None, on: torch.device) -> dict[str, Any]:
    """Figures on a data set's test pictures, plain JSON for `Metadata.measures`; `others` are pictures it cannot know.

    Raises CheckpointError where the data set has other classes or channels than the checkpoint.
    """
    evaluate.require_fit(source.metadata, dataset.test, dataset.classes)
    classifier = source.build_classifier().to(on)

    def predict(images: Tensor) -> Tensor:
        return evaluate.predict(classifier.network, classifier.preprocess, images.to(on)).cpu()

    figures: dict[str, Any] = {"robustness": _robustness(predict, dataset)}
    if source.metadata.energy_threshold is not None:
        figures["unknown"] = _unknown(predict, dataset, others, source.metadata.energy_threshold)
    return figures


def _robustness(predict: Predict, dataset: Dataset) -> dict[str, Any]:
    images, labels = dataset.test.images, dataset.test.labels
    total = len(images) * (1 + sum(len(change.strengths) for change in CHANGES))
    with tqdm(total=total, **progress.bar_style()) as bar:

        def accuracy(changed: Tensor) -> float:
            share = evaluate.accuracy(predict(changed), labels)
            bar.update(len(changed))
            return share

        unchanged = accuracy(images)
        changes = [
            {
                "name": change.name,
                "strengths": list(change.strengths),
                "accuracy": [accuracy(change.apply(images, strength)) for strength in change.strengths],
            }
            for change in CHANGES
        ]
    return {"data": dataset.name, "pictures": len(images), "accuracy": unchanged, "changes": changes}


def _unknown(predict: Predict, dataset: Dataset, others: Dataset | None, threshold: float) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "pictures": len(images),
            "flagged": int(energy.is_unknown(predict(images).numpy(), threshold).sum()),
        }
        for name, images in _sets(dataset, others)
    ]


def _sets(dataset: Dataset, others: Dataset | None) -> Iterator[tuple[str, Tensor]]:
    """Pictures by name: those of the checkpoint's kind first, then some of no kind that it knows."""
    yield f"test pictures of {dataset.name}", dataset.test.images
    if others is not None:
        yield f"test pictures of {others.name}", with_channels(others.test.images, dataset.channels)
    shape = (NOISE_PICTURES, dataset.size, dataset.size, dataset.channels)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    yield "uniform noise", torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """uint8 [N, H, W, C] with that many channels: grey becomes red, green and blue alike; colour becomes its luma."""
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return images.expand(-1, -1, -1, 3)
    return (images.float() @ torch.tensor(LUMA)).round().to(torch.uint8)[..., None]


def require_own(path: Path, source: Checkpoint) -> None:
    """Raise CheckpointError where figures cannot be kept in the checkpoint at `path`."""
    checkpoint.require_finished(source, str(path))
    if (path.parent / "bundle.json").exists():
        raise CheckpointError(f"{path} belongs to a bundle, which the figures would break: copy it, and export again")


def record(path: Path, source: Checkpoint, figures: dict[str, Any]) -> Metadata:
    """Keep the figures in the checkpoint at `path`, whose weights stay as they are, and in a run's card beside it.

    Returns the metadata with them.
    """
    metadata = replace(source.metadata, measures=source.metadata.measures | figures)
    checkpoint.save(path, metadata, source.weights)
    run = path.parent
    if path == run_folder.checkpoint_path(run) and run_folder.card_path(run).exists():
        run_folder.write_card(run, metadata)
    return metadata
