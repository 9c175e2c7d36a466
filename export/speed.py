"""Pictures a second of several runners, which take turns; the median of the rounds, as a machine's speed drifts."""

import statistics
import time
from collections.abc import Callable, Mapping

from export.bundle import Runner
from training.pixels import Pixels


def pictures_per_second(
    runners: Mapping[str, Runner],
    images: Pixels,
    *,
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Of every runner, on the one batch `images` over and over, for about `seconds` of `clock` in each round."""
    samples: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            samples[name].append(_once(run, images, seconds, clock))
    return {name: statistics.median(found) for name, found in samples.items()}


def _once(run: Runner, images: Pixels, seconds: float, clock: Callable[[], float]) -> float:
    run(images)  # to warm up
    count, began = 0, clock()
    while (elapsed := clock() - began) < seconds:
        run(images)
        count += len(images)
    return count / elapsed
