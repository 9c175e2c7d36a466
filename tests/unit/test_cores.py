"""Workers and threads: a worker for each GPU, one for each core on the CPU, and what the settings say otherwise."""

import os
from pathlib import Path

import pytest

from export.providers import ProviderError
from service import cores
from service.cores import plan
from service.settings import Settings


@pytest.fixture
def _driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "require_cuda_driver", lambda: None)


@pytest.fixture
def _no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ProviderError("there is no NVIDIA driver here")

    monkeypatch.setattr(cores, "require_cuda_driver", refuse)


@pytest.mark.usefixtures("_no_driver")
def test_on_the_cpu_each_core_has_a_worker_of_one_thread() -> None:
    planned = plan(Settings())
    assert (planned.workers, planned.threads, planned.decoders, planned.shared) == ("cpu_count", 1, 1, True)


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("engine", ["auto", "onnx-cuda", "torch-cuda"])
def test_a_gpu_has_one_worker_with_all_cores(engine: str, tmp_path: Path) -> None:
    planned = plan(Settings(engine=engine), {}, tmp_path / "none")
    assert (planned.workers, planned.threads, planned.shared) == (1, 0, False)
    assert planned.decoders == os.cpu_count()
    assert planned.environment(1) == {"CUDA_VISIBLE_DEVICES": "0"}


@pytest.mark.usefixtures("_driver")
def test_each_of_several_gpus_has_a_worker_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    planned = plan(Settings(), {}, tmp_path)
    assert (planned.workers, planned.threads, planned.decoders) == (3, 1, 1)
    assert [planned.environment(worker)["CUDA_VISIBLE_DEVICES"] for worker in (1, 2, 3, 4)] == ["0", "1", "2", "0"]


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize(("visible", "devices"), [("2", ("2",)), ("1,GPU-8a", ("1", "GPU-8a")), ("", ()), ("-1", ())])
def test_devices_that_cuda_is_not_to_see_get_no_worker(tmp_path: Path, visible: str, devices: tuple[str, ...]) -> None:
    planned = plan(Settings(), {"CUDA_VISIBLE_DEVICES": visible}, tmp_path)
    assert planned.devices == devices
    assert planned.workers == (len(devices) or "cpu_count")


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize("engine", ["onnx-cpu", "torch-cpu"])
def test_an_engine_on_the_cpu_is_on_the_cpu_whatever_drivers_there_are(engine: str) -> None:
    planned = plan(Settings(engine=engine))
    assert (planned.workers, planned.environment(1)) == ("cpu_count", {})


@pytest.mark.usefixtures("_no_driver")
def test_the_settings_come_first() -> None:
    one = plan(Settings(workers=1))
    assert (one.workers, one.threads, one.shared) == (1, 0, False)
    several = plan(Settings(workers=3, threads=2))
    assert (several.workers, several.threads, several.shared) == (3, 2, True)
