"""What a process needs to classify files: the model, its engine, and the limits that the settings give."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from export.bundle import Bundle, Outputs
from service import cores, serving
from service.metrics import Metrics
from service.settings import Settings
from training.pixels import Pixels

Run: TypeAlias = Callable[[Pixels], Outputs]


@dataclass(frozen=True)
class Job:
    """What to do: with which model, and within which limits."""

    bundle: Bundle
    engine: str  # its name
    run: Run  # it, on uint8 [N, H, W, C]
    top_k: int
    batch: int  # pictures in one call of the engine
    threads: int  # that decode
    max_bytes: int  # of a file
    max_pixels: int  # of a picture


@contextmanager
def begun(bundle: Bundle, chosen: Settings, top_k: int) -> Iterator[Job]:
    """A job with the engine that the first worker of such a service would have. Raises as an engine's load."""
    planned = cores.plan(chosen)
    os.environ.update(planned.environment(1))
    failover = serving.load(chosen, planned, bundle, Metrics("1", CollectorRegistry())).failover
    try:
        limits = (chosen.max_batch, planned.decoders, chosen.max_body_bytes, chosen.max_pixels)
        yield Job(bundle, failover.name, lambda images: failover.run(images).outputs, top_k, *limits)
    finally:
        failover.close(chosen.shutdown_seconds)
