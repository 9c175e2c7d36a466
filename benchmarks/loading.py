"""What it takes to load a bundle beside ONNX Runtime's own time: python -m benchmarks.loading

Claim: less than 50 ms for the shipped bundle, and no torch. Reading verifies every file; loading reads the graph again
and hashes it, and its bytes go to the session. The median of the rounds counts, with the files in the system's cache.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
from rich.console import Console
from rich.table import Table

from export import bundle


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/alexnet-cifar10"), help="a bundle's directory")
    parser.add_argument("--rounds", type=int, default=15, help="of which the median counts")
    options = parser.parse_args()
    console = Console()
    console.print(table(measure(options.model, options.rounds), bundle.read(options.model), options.rounds))
    console.print(f"imported: {', '.join(sorted({'torch', 'onnx'} & set(sys.modules))) or 'neither torch nor onnx'}")


def measure(directory: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of each step."""
    samples: dict[str, list[float]] = {"verify every file": [], "load the graph": [], "ONNX Runtime": []}
    verify, load, session = samples.values()
    for _ in range(rounds):
        found: bundle.Bundle = _timed(verify, partial(bundle.read, directory))
        graph: bytes = _timed(load, partial(found.load, bundle.MODEL))
        _timed(session, partial(onnxruntime.InferenceSession, graph, providers=["CPUExecutionProvider"]))
    return {step: statistics.median(times) for step, times in samples.items()}


def _timed(samples: list[float], action: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = action()
    samples.append(1000 * (time.perf_counter() - began))
    return result


def table(figures: dict[str, float], found: bundle.Bundle, rounds: int) -> Table:
    """One row a step."""
    size = sum(file["bytes"] for file in found.document["files"].values()) / 1e6
    result = Table(title=f"{found.name}, {size:.1f} MB: median of {rounds} rounds", title_justify="left")
    result.add_column("step")
    result.add_column("ms", justify="right")
    for step, milliseconds in figures.items():
        result.add_row(step, f"{milliseconds:.1f}")
    return result


if __name__ == "__main__":
    main()
