"""ONNX Runtime's providers, each really loaded on its device or refused with the reason; for gate and service."""

import ctypes
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import onnxruntime

from export.tuning import DEFAULT, Tuning, cuda_options, session_options

# OpenVINO takes bf16 by itself where the processor has it; what is promised as fp32 is computed so.
OPENVINO_OPTIONS = {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'}
OPENVINO_PLUGIN = "onnxruntime_ep_openvino"


class ProviderError(Exception):
    """A provider cannot run here; the message says why."""


def session(model: bytes, provider: str, tuning: Tuning = DEFAULT) -> Any:
    """An `onnxruntime.InferenceSession` of `model` on provider cpu, cuda or openvino. Raises ProviderError."""
    found = PROVIDERS[provider](model, tuning)
    # A provider whose libraries are missing is only a warning to ONNX Runtime, which then runs on the CPU.
    active = found.get_providers()[0]
    if not active.lower().startswith(provider):
        raise ProviderError(
            f"ONNX Runtime fell back to {active}; its CUDA libraries are missing or do not fit the driver: "
            "install the extra 'cuda' (make serve does where it finds a driver)"
        )
    return found


def require_cuda_driver() -> None:
    """Raise ProviderError where there is no NVIDIA driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise ProviderError(f"there is no NVIDIA driver here ({library} is not found)") from error


def _cpu(model: bytes, tuning: Tuning) -> Any:
    return onnxruntime.InferenceSession(model, session_options(tuning), providers=["CPUExecutionProvider"])


def _cuda(model: bytes, tuning: Tuning) -> Any:
    require_cuda_driver()
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ProviderError("this build of ONNX Runtime has no CUDA provider; install onnxruntime-gpu")
    onnxruntime.preload_dlls()
    cuda = ("CUDAExecutionProvider", cuda_options(tuning))
    return onnxruntime.InferenceSession(model, session_options(tuning), providers=[cuda])


def _openvino(model: bytes, tuning: Tuning) -> Any:
    if find_spec(OPENVINO_PLUGIN) is None:
        raise ProviderError("OpenVINO is not installed; install onnxruntime-ep-openvino")
    devices = _openvino_devices() or _registered_openvino_devices()
    if not devices:
        raise ProviderError("OpenVINO's plugin offers no CPU here; it may take Intel's alone")
    options = session_options(tuning)
    options.add_provider_for_devices(devices[:1], OPENVINO_OPTIONS)
    return onnxruntime.InferenceSession(model, options)


def _registered_openvino_devices() -> list[Any]:
    from onnxruntime_ep_openvino import get_library_path

    onnxruntime.register_execution_provider_library("openvino", get_library_path())
    return _openvino_devices()


def _openvino_devices() -> list[Any]:
    return [
        device
        for device in onnxruntime.get_ep_devices()
        if device.ep_name == "OpenVINOExecutionProvider" and device.ep_metadata.get("ov_device") == "CPU"
    ]


PROVIDERS: dict[str, Callable[[bytes, Tuning], Any]] = {"cpu": _cpu, "cuda": _cuda, "openvino": _openvino}
