"""How many workers there are and how many threads each has: from the engine, and as the settings say otherwise."""

import os
from dataclasses import dataclass
from typing import Literal

from service.engines import EngineError, require_cuda_driver
from service.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What the workers of one server are."""

    workers: int | Literal["cpu_count"]  # the latter is BentoML's word for one for each core, in a container too
    threads: int  # of one call of the engine on the CPU; 0 is one for each core
    decoders: int  # pictures that a worker decodes at once

    @property
    def shared(self) -> bool:
        """Whether several workers use the same cores."""
        return self.workers != 1


def plan(settings: Settings) -> Plan:
    """One worker for a GPU, since each takes memory for a model there; on the CPU one for each core."""
    workers = settings.workers or (1 if _may_use_gpu(settings.engine) else "cpu_count")
    several = workers != 1
    threads = settings.threads or (1 if several else 0)
    # A large picture takes hundreds of megabytes while it is decoded.
    return Plan(workers, threads, decoders=1 if several else os.cpu_count() or 1)


def _may_use_gpu(engine: str) -> bool:
    if engine not in ("auto", "onnx-cuda", "torch-cuda"):
        return False
    try:
        require_cuda_driver()
    except EngineError:
        return False
    return True
