"""Pictures a second of several runners, which take turns; the median of the rounds, as a machine's speed drifts."""

import statistics
import time
from collections.abc import Mapping

from export.bundle import Runner
from training.pixels import Pixels


def pictures_per_second(
    runners: Mapping[str, Runner], images: Pixels, *, rounds: int, seconds: float
) -> dict[str, float]:
    """Of every runner, on the one batch `images` over and over, for about `seconds` in each round."""
    samples: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            samples[name].append(_once(run, images, seconds))
    return {name: statistics.median(found) for name, found in samples.items()}


def _once(run: Runner, images: Pixels, seconds: float) -> float:
    run(images)  # to warm up
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        run(images)
        count += len(images)
    return count / elapsed
