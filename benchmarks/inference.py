"""Pictures a second of the service's engines on one bundle, in turns in one run: python -m benchmarks.inference

Every engine that loads here classifies the same noise at each batch size; the engines take turns, and the median of
the rounds counts, because a shared machine's speed drifts. Ratios compare with PyTorch on the CPU.
"""

import argparse
import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export import bundle
from export.parity import seeded_noise
from service.engines import Engine, EngineError, load
from service.settings import ENGINES
from training.pixels import Pixels

BATCHES = (1, 8, 32, 128)
BASELINE = "torch-cpu"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/alexnet-cifar10"), help="a bundle's directory")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="about so long for each engine, batch and round")
    options = parser.parse_args()
    console = Console()
    served = bundle.read(options.model)
    engines = []
    for name in ENGINES:
        try:
            engines.append(load(name, served))
        except EngineError as error:
            console.print(f"{name}: left out, {error}", soft_wrap=True)
    speeds = measure(engines, served, options.rounds, options.seconds)
    console.print(table(speeds, f"{served.name}: pictures a second, median of {options.rounds} rounds"))


def measure(engines: list[Engine], served: bundle.Bundle, rounds: int, seconds: float) -> dict[str, dict[int, float]]:
    """Median pictures a second of every engine at every batch size."""
    samples: dict[str, dict[int, list[float]]] = {engine.name: {batch: [] for batch in BATCHES} for engine in engines}
    for _ in range(rounds):
        for batch in BATCHES:
            images = seeded_noise(batch, served.size, served.channels)
            for engine in engines:
                samples[engine.name][batch].append(pictures_per_second(engine, images, seconds))
    return {name: {b: statistics.median(found) for b, found in row.items()} for name, row in samples.items()}


def pictures_per_second(engine: Engine, images: Pixels, seconds: float) -> float:
    """Run one batch over and over for `seconds`, after one run to warm up."""
    engine.run(images)
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        engine.run(images)
        count += len(images)
    return count / elapsed


def table(speeds: dict[str, dict[int, float]], title: str) -> Table:
    """One row an engine: pictures a second, and the ratio to the baseline where it was measured."""
    found = Table(title=title, title_justify="left")
    found.add_column("engine")
    for batch in BATCHES:
        found.add_column(f"batch {batch}", justify="right")
    for name, row in speeds.items():
        base = speeds.get(BASELINE)
        cells = [f"{row[b]:,.0f}" + (f" ({row[b] / base[b]:.2f}x)" if base else "") for b in BATCHES]
        found.add_row(name, *cells)
    return found


if __name__ == "__main__":
    main()
