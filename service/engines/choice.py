"""Which engine serves: the first in their order that runs, and of two on the processor the one that is faster here."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from export import providers, selfcheck
from export.bundle import Bundle
from export.speed import pictures_per_second
from service.engines import loading
from service.engines.engine import Engine, EngineError
from service.settings import ENGINES

PLUGIN, BUILT_IN = "onnx-openvino", "onnx-cpu"
ROUNDS, SECONDS = 5, 0.1

Loader = Callable[[str, Bundle], Engine]
Clock = Callable[[], float]

logger = logging.getLogger("alexnet")


@dataclass(frozen=True)
class Choice:
    """The engine that serves."""

    engine: Engine
    passed_over: Mapping[str, str]  # why others of the order do not, by their names
    behind: tuple[str, ...]  # which may stand in for it, in their order


def choose(wanted: str, bundle: Bundle, loader: Loader = loading.load, clock: Clock = time.perf_counter) -> Choice:
    """The engine `wanted`, or for "auto" the first that runs here. Raises EngineError saying why not."""
    return first(order() if wanted == "auto" else (wanted,), bundle, loader, clock)


def order() -> tuple[str, ...]:
    """The engines that "auto" tries, one after the other: OpenVINO's only where its plugin is installed."""
    return ENGINES if providers.has_openvino() else tuple(name for name in ENGINES if name != PLUGIN)


def first(
    names: Sequence[str], bundle: Bundle, loader: Loader = loading.load, clock: Clock = time.perf_counter
) -> Choice:
    """The first of the named engines that runs; OpenVINO's gives way to the built-in one where that is faster.

    Raises EngineError with the reason of each.
    """
    passed_over: dict[str, str] = {}
    for place, name in enumerate(names):
        try:
            found = Choice(loader(name, bundle), passed_over, tuple(names[place + 1 :]))
        except EngineError as error:
            passed_over[name] = str(error)
            logger.info("engine %s is passed over: %s", name, error)
            continue
        if name == PLUGIN and BUILT_IN in found.behind:
            found = _faster(found, bundle, loader, clock)
        logger.info("engine %s runs %s:%s", found.engine.name, bundle.name, bundle.version)
        return found
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over.items())
    raise EngineError(f"engine {reasons}" if len(names) == 1 else f"no engine can run ({reasons})")


def _faster(found: Choice, bundle: Bundle, loader: Loader, clock: Clock) -> Choice:
    """OpenVINO's engine, which was found, or the built-in one, by pictures a second; the other stands behind it."""
    try:
        built_in = loader(BUILT_IN, bundle)
    except EngineError as error:
        logger.info("engine %s is not there to be compared with %s: %s", BUILT_IN, PLUGIN, error)
        return found
    # In this order, so that of two that are as fast as each other the built-in one serves.
    rivals = {PLUGIN: found.engine, BUILT_IN: built_in}
    images = selfcheck.pictures(bundle.size, bundle.channels)
    runners = {name: engine.run for name, engine in rivals.items()}
    speeds = pictures_per_second(runners, images, rounds=ROUNDS, seconds=SECONDS, clock=clock)
    slower, faster = sorted(speeds, key=lambda name: speeds[name])
    measured = f"{speeds[slower]:.0f} pictures a second, {faster} {speeds[faster]:.0f} (in batches of {len(images)})"
    logger.info("engine %s is slower: %s", slower, measured)
    passed_over = {**found.passed_over, slower: f"it is slower here: {measured}"}
    rest = tuple(name for name in found.behind if name != BUILT_IN)
    return Choice(rivals[faster], passed_over, (slower, *rest))
