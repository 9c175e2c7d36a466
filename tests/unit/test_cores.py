"""Workers and threads: a worker for a GPU, one for each core on the CPU, and what the settings say otherwise."""

import os

import pytest

from service import cores
from service.cores import plan
from service.engines import EngineError
from service.settings import Settings


@pytest.fixture
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "require_cuda_driver", lambda: None)


@pytest.fixture
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise EngineError("there is no NVIDIA driver here")

    monkeypatch.setattr(cores, "require_cuda_driver", refuse)


@pytest.mark.usefixtures("_no_driver")
def test_on_the_cpu_each_core_has_a_worker_of_one_thread() -> None:
    planned = plan(Settings())
    assert (planned.workers, planned.threads, planned.decoders, planned.shared) == ("cpu_count", 1, 1, True)


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("engine", ["auto", "onnx-cuda", "torch-cuda"])
def test_a_gpu_has_one_worker_with_all_cores(engine: str) -> None:
    planned = plan(Settings(engine=engine))
    assert (planned.workers, planned.threads, planned.shared) == (1, 0, False)
    assert planned.decoders == os.cpu_count()


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("engine", ["onnx-cpu", "torch-cpu"])
def test_an_engine_on_the_cpu_is_on_the_cpu_whatever_drivers_there_are(engine: str) -> None:
    assert plan(Settings(engine=engine)).workers == "cpu_count"


@pytest.mark.usefixtures("_no_driver")
def test_the_settings_come_first() -> None:
    one = plan(Settings(workers=1))
    assert (one.workers, one.threads, one.shared) == (1, 0, False)
    several = plan(Settings(workers=3, threads=2))
    assert (several.workers, several.threads, several.shared) == (3, 2, True)
