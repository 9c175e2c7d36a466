"""What stands behind the routes: a bundle, its engines, the batcher before them, and how these begin and end."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec

from anyio import CapacityLimiter, to_thread

from export.bundle import Bundle
from export.tuning import Tuning
from service.batching.admission import Admission
from service.batching.batcher import Batcher, Limits
from service.cores import Plan
from service.engines import choice, loading
from service.engines.choice import Choice
from service.engines.engine import NO_TORCH, NO_WEIGHTS, Engine
from service.engines.failover import Failover, Policy
from service.engines.warming import ready
from service.metrics import Metrics
from service.settings import Settings
from service.stopping import Grace

# How long a batch may hold up the loop of a worker: about as long as the interpreter lets a thread wait for it (5 ms).
HERE_SECONDS = 0.004

logger = logging.getLogger("alexnet")


@dataclass(frozen=True)
class Engines:
    """The engine that serves and the one behind it; why others were passed over, and why there is none behind it."""

    failover: Failover
    passed_over: Mapping[str, str]
    fallbacks: tuple[str, ...]
    no_fallback: str | None


@dataclass(frozen=True)
class Serving:
    """What the routes answer with, in the loop in which it was started."""

    bundle: Bundle
    engines: Engines
    batcher: Batcher
    settings: Settings
    metrics: Metrics
    decoders: CapacityLimiter
    admission: Admission
    grace: Grace
    since: str


def load(settings: Settings, planned: Plan, bundle: Bundle, metrics: Metrics) -> Engines:
    """Load the engine that the settings ask for, and have it run every size of batch. Raises EngineError."""
    prepare = partial(_ready, tuning=tuning_of(settings, planned), most=settings.max_batch)
    loader = partial(prepare, variant=settings.variant)
    chosen = choice.choose(settings.engine, bundle, loader)
    fallbacks, no_fallback = fallbacks_of(chosen, settings.engine, bundle)
    behind: Callable[[], Engine] | None = partial(_first_of, fallbacks, bundle, prepare) if fallbacks else None
    if no_fallback:
        logger.info("no engine stands behind %s: %s", chosen.engine.name, no_fallback)
    reload = partial(loader, chosen.engine.name, bundle)
    warm = settings.warm_fallback
    failover = Failover(chosen.engine, behind, reload, Policy(), warm=warm, observer=metrics)
    return Engines(failover, chosen.passed_over, fallbacks, no_fallback)


def start(loaded: Engines, planned: Plan, bundle: Bundle, settings: Settings, metrics: Metrics) -> Serving:
    """Begin to serve in the running loop."""
    shape = (bundle.size, bundle.size, bundle.channels)
    # Workers that share the cores have no core that would be idle meanwhile.
    here = HERE_SECONDS if planned.shared and not planned.devices else 0.0
    limits = Limits(settings.max_batch, settings.max_queue, settings.max_wait_ms, here)
    failover = loaded.failover
    batcher = Batcher(failover.run, shape, limits, metrics, run_here=failover.attempt)
    decoders = CapacityLimiter(planned.decoders)
    admission = Admission(settings.max_requests, settings.max_requests_per_client, settings.max_answering)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Serving(bundle, loaded, batcher, settings, metrics, decoders, admission, Grace(), since)


async def stop(serving: Serving) -> None:
    """Finish what waits, within the seconds that the settings give, and let the engines go."""
    await serving.batcher.close(serving.settings.shutdown_seconds)
    await to_thread.run_sync(serving.engines.failover.close, serving.settings.shutdown_seconds)


def fallbacks_of(chosen: Choice, wanted: str, bundle: Bundle) -> tuple[tuple[str, ...], str | None]:
    """The engines that may stand in for the chosen one, in their order, or none and the reason why."""
    if wanted != "auto":
        return (), f"ALEXNET_ENGINE={wanted} allows no other engine"
    if not chosen.behind:
        return (), f"{chosen.engine.name} is the last engine of all"
    if not bundle.has_weights:
        reason = NO_WEIGHTS
    elif find_spec("torch") is None:
        reason = NO_TORCH
    else:
        return chosen.behind, None
    rest = tuple(name for name in chosen.behind if not name.startswith("torch-"))
    return rest, None if rest else reason


def tuning_of(settings: Settings, planned: Plan) -> Tuning:
    """How the engines of a worker are set up."""
    return Tuning(planned.threads, planned.shared, settings.tf32, settings.cuda_memory_mib)


def _ready(name: str, bundle: Bundle, tuning: Tuning, most: int, variant: str = "auto") -> Engine:
    return ready(loading.load(name, bundle, tuning, variant), bundle, most)


def _first_of(names: tuple[str, ...], bundle: Bundle, loader: Callable[[str, Bundle], Engine]) -> Engine:
    """The first of these engines that runs. Raises EngineError."""
    return choice.first(names, bundle, loader).engine
