"""A training run of a second, and a checkpoint nobody trained: what the tests of training start from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training import checkpoint, epoch, loop, networks
from training.checkpoint import Metadata
from training.data import sources
from training.data.dataset import Dataset
from training.loop import Result
from training.recipe import Recipe, Stage
from training.reports import pictures as run_pictures

# Three epochs in two stages on 96 pictures: 3 batches of 32, then twice 2 batches of 48.
RECIPE = Recipe(network="compact", stages=(Stage(1, 32, 0.05), Stage(2, 48, 0.02)), train_images=96)
METADATA = Metadata(
    network="compact",
    arguments={},
    classes=["cat", "dog", "frog"],
    size=20,
    channels=3,
    mean=[0.5, 0.4, 0.3],
    std=[0.2, 0.25, 0.3],
    recipe={"schedule": "constant"},
    seed=7,
    data={"name": "pets", "fit": 90, "validation": 10, "test": 20},
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny batches are slower on many threads, the more so beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def undrawn() -> Iterator[None]:
    """The pictures of a run take longer to draw than a tiny network to train."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("curves", "confusion", "mistakes", "reliability"):
            patch.setattr(run_pictures, name, lambda *_: run_pictures.grid(torch.zeros(0, 4, 4, 3)))
        yield


@cache
def pictures() -> Dataset:
    """Synthetic pictures at the smallest size that `compact` takes: 300 to train on, 60 to test on."""
    whole = sources.load("synthetic", None, size=20)
    return replace(whole, train=whole.train.take(torch.arange(300)), test=whole.test.take(torch.arange(60)))


@one_thread()
def quick_train(run: Path, recipe: Recipe = RECIPE, **options: Any) -> Result:
    """Train on the pictures, of which 30 are held out."""
    return loop.train(recipe, pictures(), run, on=torch.device("cpu"), **options)


def interrupt_at_batch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when training comes to its batch `number`, counted from 1 over all epochs."""
    monkeypatch.setattr(epoch, "take_step", _failing_at(number, epoch.take_step))


def stop_at_batch(number: int, run: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe = RECIPE) -> None:
    """Leave a run that was stopped at its batch `number`: of RECIPE 4 is the first of epoch 2, 6 that of epoch 3."""
    with monkeypatch.context() as patch:
        interrupt_at_batch(number, patch)
        with pytest.raises(KeyboardInterrupt):
            quick_train(run, recipe)


def weights(seed: int = 0, metadata: Metadata = METADATA) -> dict[str, Tensor]:
    """Fresh weights that fit `metadata`."""
    torch.manual_seed(seed)
    network = networks.build(metadata.network, classes=len(metadata.classes), size=metadata.size)
    return dict(network.state_dict())


def saved_checkpoint(folder: Path) -> Path:
    """A good checkpoint in `folder`."""
    path = folder / "good.safetensors"
    checkpoint.save(path, METADATA, weights())
    return path


def _failing_at(number: int, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    calls = iter(range(1, number + 1))

    def wrapped(*arguments: Any) -> Tensor:
        if next(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments)

    return wrapped
