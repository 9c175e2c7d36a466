"""The documents' way of training beside ours, on S4's network, in one run: python -m benchmarks.training

The documents': a DataLoader with torchvision transforms picture by picture, fp32, contiguous memory. Ours: the
package's own step. Both take turns, `--rounds` times, and medians are printed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from training import checkpoint, device, epoch, networks, trainee
from training.checkpoint import Metadata
from training.data import sources
from training.data.augment import augment, draw
from training.data.dataset import Split
from training.data.sources import channel_statistics
from training.ladders.measured import RESULTS, best_measured, rungs
from training.recipes import named_recipe
from training.resume import Epoch
from training.summary import summarise
from training.trainee import Trainee

S4_ACCURACY = 0.8949
BATCH = 128
CLASSES = 10
DOCUMENTS, OURS, DATA = "the documents' way", "ours", "gathering, augmentation and normalisation"
WORKERS = 2
# The loader has this many batches ready when its turn begins; they are taken before the clock starts.
PREFETCHED = 2 * WORKERS
SHIPPED = RESULTS.parent.parent / "models" / "alexnet-cifar10" / "weights.safetensors"


class PerPicture(Dataset[tuple[Tensor, int]]):
    """Pictures opened and transformed one at a time, as torchvision's data sets do."""

    def __init__(self, split: Split, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images, self.labels = split.images.numpy(), split.labels.tolist()
        self.transform = transforms.Compose(
            [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def documents_steps(split: Split, on: torch.device) -> Iterator[None]:
    """Steps of the documents' training loop, for ever; the first ones of a turn find their batches ready."""
    network = networks.build("alexnet-bn", classes=CLASSES, batch_norm=True, dropout=0.5).to(on)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    pictures = PerPicture(split, *channel_statistics(split.images))
    while True:
        for images, labels in DataLoader(pictures, BATCH, shuffle=True, num_workers=WORKERS, drop_last=True):
            loss = cross_entropy(network(images.to(on)), labels.to(on))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def our_steps(trained: Trainee, split: Split) -> Iterator[None]:
    """Steps of ours, for ever."""
    trained.network.train()
    while True:
        plan = epoch.plan_epoch(trained, 0, split, [])
        for batch, rate in zip(plan.batches, plan.rates, strict=True):
            epoch.take_step(trained, plan, split, batch, rate)
            yield


def data_steps(trained: Trainee, split: Split) -> Iterator[None]:
    """What of our steps brings the data: gathering, augmentation, normalisation."""
    height, channels = split.images.shape[1], split.images.shape[3]
    while True:
        draws = draw(len(split), height, channels, trained.recipe, torch.Generator()).to(trained.device)
        for batch in torch.randperm(len(split)).to(trained.device).split(BATCH):
            trained.preprocess(augment(split.images[batch], draws.take(batch), trained.recipe, trained.palette))
            yield


def measure(turns: dict[str, Iterator[None]], rounds: int, steps: int, on: torch.device) -> dict[str, float]:
    """Median seconds of a step of each, which take turns of `steps` steps."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, taking in turns.items():
            for _ in range(PREFETCHED):
                next(taking)
            _wait(on)
            began = time.perf_counter()
            for _ in range(steps):
                next(taking)
            _wait(on)
            samples[name].append((time.perf_counter() - began) / steps)
    return {name: statistics.median(found) for name, found in samples.items()}


def matrix_product(on: torch.device, side: int = 2048) -> float:
    """Gflop/s of the best of ten products of matrices, in the precision that training uses: a bound on any step.

    A step multiplies and adds three times what a forward pass does: once more for each of the two gradients.
    """
    precision = torch.bfloat16 if device.has_fast_bf16(on) else torch.float32
    one, other = (torch.randn(side, side, device=on, dtype=precision) for _ in range(2))
    taken = []
    for _ in range(10):
        _wait(on)
        began = time.perf_counter()
        one @ other
        _wait(on)
        taken.append(time.perf_counter() - began)
    return 2 * side**3 / min(taken) / 1e9


def epochs_to(history: Sequence[Epoch], accuracy: float) -> str:
    """The first epoch whose validation accuracy is at least that, in words."""
    for entry in history:
        if entry["validation_accuracy"] >= accuracy:
            return f"reached in epoch {entry['epoch']} of {len(history)}"
    best = max(history, key=lambda entry: float(entry["validation_accuracy"]))
    return f"not reached in {len(history)} epochs; best {best['validation_accuracy']:.2%} in epoch {best['epoch']}"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--data", default="synthetic", choices=sources.KINDS, help="which pictures (default synthetic)")
    parser.add_argument("--data-dir", type=Path, help="where they are")
    parser.add_argument("--device", default="auto", help="auto (default), cuda, mps or cpu")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    parser.add_argument("--steps", type=int, default=6, help="in each turn")
    options = parser.parse_args()
    on, console = device.choose_device(options.device), Console(width=None if sys.stdout.isatty() else 100)
    split = sources.load(options.data, options.data_dir).train
    seconds = measure(_turns(split, on), options.rounds, options.steps, on)
    bringing = seconds.pop(DATA)
    console.print(_table(seconds, f"S4's network in batches of {BATCH} on {device.describe(on)}"))
    console.print(f"{DATA}: {1000 * bringing:.1f} ms, {bringing / seconds[OURS]:.1%} of our step")
    rate = 6 * summarise("alexnet-bn").multiply_adds * BATCH / seconds[OURS] / 1e9
    console.print(f"our step does {rate:,.0f} Gflop/s; a large matrix product here: {matrix_product(on):,.0f}")
    for name, history in _histories().items():
        console.print(f"epochs to S4's {S4_ACCURACY:.2%} on validation, {name}: {epochs_to(history, S4_ACCURACY)}")


def _turns(split: Split, on: torch.device) -> dict[str, Iterator[None]]:
    turns = {
        DOCUMENTS: documents_steps(split, on),
        OURS: our_steps(_trainee("s4-flip", split, on), split.to(on)),
        DATA: data_steps(_trainee("alexnet-bn", split, on), split.to(on)),
    }
    if on.type == "cpu":
        return turns
    cpu = torch.device("cpu")
    return turns | {f"{OURS}, on the CPU": our_steps(_trainee("s4-flip", split, cpu), split)}


def _trainee(recipe_name: str, split: Split, on: torch.device) -> Trainee:
    recipe = named_recipe(recipe_name)
    mean, std = channel_statistics(split.images)
    metadata = Metadata(
        network=recipe.network,
        arguments=dict(recipe.arguments),
        classes=[str(number) for number in range(CLASSES)],
        size=split.images.shape[1],
        channels=split.images.shape[3],
        mean=list(mean),
        std=list(std),
        recipe=recipe.as_json(),
        seed=0,
        data={},
    )
    return trainee.build(recipe, metadata, split.images, on)


def _histories() -> dict[str, list[Epoch]]:
    """The epochs of S4's best recipe, where a ladder measured it, and of the shipped model."""
    found = best_measured(rungs())
    histories = {"s4-best": found["s4-best"]["history"]} if "s4-best" in found else {}
    return histories | {"the shipped model": checkpoint.load(SHIPPED).metadata.history}


def _table(seconds: dict[str, float], title: str) -> Table:
    found = Table(title=title, title_justify="left")
    for heading in ("", "images a second", "ratio"):
        found.add_column(heading, justify="right" if heading else "left")
    for name, each in seconds.items():
        found.add_row(name, f"{BATCH / each:,.0f}", f"{seconds[DOCUMENTS] / each:.2f}x")
    return found


def _wait(on: torch.device) -> None:
    if on.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
