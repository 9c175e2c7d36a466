"""ONNX Runtime's providers, each really loaded on its device or refused with the reason; for gate and service."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import onnxruntime

from export.tuning import DEFAULT, Tuning, cuda_options, openvino_options, session_options

OPENVINO_PLUGIN = "onnxruntime_ep_openvino"


class ProviderError(Exception):
    """A provider cannot run here; the message says why."""


def session(model: bytes, provider: str, tuning: Tuning = DEFAULT) -> Any:
    """An `onnxruntime.InferenceSession` of `model` on provider cpu, cuda or openvino. Raises ProviderError."""
    return PROVIDERS[provider](model, tuning)


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
    found = onnxruntime.InferenceSession(model, session_options(tuning), providers=[cuda])
    # A provider whose libraries are missing is only a warning to ONNX Runtime, which then runs on the CPU.
    active = found.get_providers()[0]
    if active != cuda[0]:
        raise ProviderError(
            f"ONNX Runtime fell back to {active}; its CUDA libraries are missing or do not fit the driver: "
            "install the extra 'cuda' (make serve does where it finds a driver)"
        )
    return found


def has_openvino() -> bool:
    """Whether OpenVINO's plugin is installed, which need not mean that it takes this processor."""
    return find_spec(OPENVINO_PLUGIN) is not None


def _openvino(model: bytes, tuning: Tuning) -> Any:
    if not has_openvino():
        raise ProviderError(
            "OpenVINO's plugin is not installed; install the extra 'openvino' (pip install '.[openvino]')"
        )
    devices = _openvino_devices()
    if not devices:
        # Its releases compare the vendor's number with Intel's, though OpenVINO itself runs on others.
        here = [each.device.vendor for each in onnxruntime.get_ep_devices() if each.ep_name == "CPUExecutionProvider"]
        raise ProviderError(f"OpenVINO's plugin takes processors of Intel alone, and this is of {', '.join(here)}")
    options = session_options(tuning)
    options.add_provider_for_devices(devices[:1], openvino_options(tuning))
    return onnxruntime.InferenceSession(model, options)


@cache
def _openvino_devices() -> list[Any]:
    """The processors that the plugin takes; asked once, as ONNX Runtime registers no library twice."""
    from onnxruntime_ep_openvino import get_library_path

    onnxruntime.register_execution_provider_library("openvino", get_library_path())
    return [
        device
        for device in onnxruntime.get_ep_devices()
        # There is a second provider, AUTO, on the same processor.
        if device.ep_name == "OpenVINOExecutionProvider" and device.ep_metadata.get("ov_device") == "CPU"
    ]


PROVIDERS: dict[str, Callable[[bytes, Tuning], Any]] = {"cpu": _cpu, "cuda": _cuda, "openvino": _openvino}
