"""How many workers there are, and what each has of threads and devices: from the engine and the settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.providers import ProviderError, require_cuda_driver
from service.settings import Settings

GPUS = Path("/proc/driver/nvidia/gpus")  # where Linux has a directory for each
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Plan:
    """What the workers of one server are."""

    workers: int | Literal["cpu_count"]  # the latter is BentoML's word for one for each core, in a container too
    threads: int  # of one call of the engine on the CPU; 0 is one for each core
    decoders: int  # pictures that a worker decodes at once
    devices: tuple[str, ...] = ()  # of CUDA, as CUDA_VISIBLE_DEVICES names them; none where none is to be used

    @property
    def shared(self) -> bool:
        """Whether several workers use the same cores."""
        return self.workers != 1

    def environment(self, worker: int) -> dict[str, str]:
        """What a worker, counted from 1, must have in its environment before it loads an engine."""
        return {VISIBLE: self.devices[(worker - 1) % len(self.devices)]} if self.devices else {}


def plan(settings: Settings, environment: Mapping[str, str] = os.environ, gpus: Path = GPUS) -> Plan:
    """One worker for each GPU, since each takes memory for a model there; on the CPU one for each core."""
    devices = _devices(environment, gpus) if _may_use_gpu(settings.engine) else ()
    workers: int | Literal["cpu_count"] = settings.workers or len(devices) or "cpu_count"
    several = workers != 1
    threads = settings.threads or (1 if several else 0)
    # A large picture takes hundreds of megabytes while it is decoded.
    return Plan(workers, threads, 1 if several else os.cpu_count() or 1, devices)


def _devices(environment: Mapping[str, str], gpus: Path) -> tuple[str, ...]:
    """Every device that may be used, or the first one where nobody can tell how many there are."""
    if VISIBLE in environment:
        return tuple(name for name in environment[VISIBLE].split(",") if name not in ("", "-1"))
    return tuple(str(number) for number in range(len(list(gpus.iterdir())))) if gpus.is_dir() else ("0",)


def _may_use_gpu(engine: str) -> bool:
    if engine not in ("auto", "onnx-cuda", "torch-cuda"):
        return False
    try:
        require_cuda_driver()
    except ProviderError:
        return False
    return True
