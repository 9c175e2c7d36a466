"""What an engine asks for, and how it refuses a machine that lacks something instead of running elsewhere."""

import ctypes
from typing import Any

import onnxruntime
import pytest
import torch

from export.bundle import Bundle
from export.tuning import Tuning
from service.engines import binding, contract
from service.engines.engine import EngineError, OnnxEngine, TorchEngine
from tests.unit.fakes import BUNDLE


class FakeSession:
    """An ONNX Runtime session that keeps what it was given and runs on `active`."""

    active = "CUDAExecutionProvider"
    providers: Any = None
    options: Any = None

    def __init__(self, _: bytes, options: Any, providers: list[Any]) -> None:
        type(self).providers, type(self).options = providers, options

    def get_providers(self) -> list[str]:
        """The providers that are really active, as ONNX Runtime tells them after the fact."""
        return [self.active, "CPUExecutionProvider"]


@pytest.fixture
def cuda_session(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """A machine with a driver and a CUDA build of ONNX Runtime, where a session is a fake."""
    session = type("Session", (FakeSession,), {})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(contract, "broken", lambda *_: None)
    monkeypatch.setattr(binding, "pinned_or_pageable", lambda: binding.pageable)
    return session


def test_cuda_is_asked_for_without_tf32_and_without_tuning_in_a_request(
    tiny_bundle: Bundle, cuda_session: type[FakeSession]
) -> None:
    assert OnnxEngine(tiny_bundle, "cuda").name == "onnx-cuda"
    ((name, options),) = cuda_session.providers
    assert name == "CUDAExecutionProvider"
    assert options == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def test_cuda_gets_the_precision_and_the_memory_that_are_asked_for(
    tiny_bundle: Bundle, cuda_session: type[FakeSession]
) -> None:
    OnnxEngine(tiny_bundle, "cuda", Tuning(tf32=True, cuda_memory_mib=2))
    ((_, options),) = cuda_session.providers
    assert (options["use_tf32"], options["gpu_mem_limit"]) == ("1", "2097152")


@pytest.mark.parametrize(("shared", "spinning"), [(True, "0"), (False, None)])
def test_workers_that_share_the_cores_do_not_spin_while_they_wait(
    tiny_bundle: Bundle, cuda_session: type[FakeSession], shared: bool, spinning: str | None
) -> None:
    cuda_session.active = "CPUExecutionProvider"
    OnnxEngine(tiny_bundle, "cpu", Tuning(threads=3, shared=shared))
    options = cuda_session.options
    assert options.intra_op_num_threads == 3
    if spinning is None:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.intra_op.allow_spinning")
    else:
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == spinning


def test_a_session_that_fell_back_to_the_cpu_is_refused(tiny_bundle: Bundle, cuda_session: type[FakeSession]) -> None:
    cuda_session.active = "CPUExecutionProvider"
    with pytest.raises(EngineError, match="fell back to CPUExecutionProvider"):
        OnnxEngine(tiny_bundle, "cuda")


@pytest.mark.usefixtures("cuda_session")
def test_a_build_without_cuda_is_refused(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="no CUDA provider"):
        OnnxEngine(tiny_bundle, "cuda")


@pytest.mark.parametrize("engine", [OnnxEngine, TorchEngine])
@pytest.mark.parametrize(("platform", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_without_a_driver_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch, engine: Any, platform: str, library: str
) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(EngineError) as refusal:
        engine(BUNDLE, "cuda")
    assert str(refusal.value) == f"there is no NVIDIA driver here ({library} is not found)"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_pytorch_its_engine_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr("service.engines.engine.find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"^PyTorch is not installed"):
        TorchEngine(BUNDLE, device)


def test_pytorch_without_a_usable_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="no usable CUDA device"):
        TorchEngine(BUNDLE, "cuda")
