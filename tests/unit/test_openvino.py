"""OpenVINO's plugin as a provider of ONNX Runtime: how it is found, set up and refused."""

import json
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from export import providers
from export.bundle import Bundle
from export.providers import ProviderError
from export.tuning import Tuning, openvino_options
from service.engines import contract
from service.engines.engine import EngineError, OnnxEngine


def device(name: str, vendor: str, **metadata: str) -> Any:
    """A processor as a provider offers it."""
    return SimpleNamespace(ep_name=name, ep_metadata=metadata, device=SimpleNamespace(vendor=vendor))


BUILT_IN = device("CPUExecutionProvider", "AMD")
GRAPHICS = device("OpenVINOExecutionProvider", "Intel", ov_device="GPU")
PROCESSOR = device("OpenVINOExecutionProvider", "Intel", ov_device="CPU")
AUTO = device("OpenVINOExecutionProvider.AUTO", "Intel", ov_device="CPU")


class FakeRuntime:
    """The parts of ONNX Runtime that know of plugins, and what they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offered: list[Any]) -> None:
        self.registered: list[tuple[str, str]] = []
        self.added: list[tuple[list[Any], dict[str, str]]] = []
        self._offered = offered
        plugin = ModuleType("onnxruntime_ep_openvino")
        plugin.__dict__["get_library_path"] = lambda: "plugin.so"
        monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", plugin)
        monkeypatch.setattr(providers, "find_spec", lambda _: plugin)
        monkeypatch.setattr(providers, "session_options", lambda _: self)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", self._register)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", self._devices)
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *given: given)

    def _register(self, name: str, path: str) -> None:
        assert not self.registered, "ONNX Runtime refuses a library that it has"
        self.registered.append((name, path))

    def _devices(self) -> list[Any]:
        return [BUILT_IN, *(self._offered if self.registered else ())]

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        """Keep what a session is to run on."""
        self.added.append((devices, options))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What was found out about this machine does not reach the tests, nor the other way."""
    providers._openvino_devices.cache_clear()
    yield
    providers._openvino_devices.cache_clear()


def test_sessions_run_on_the_processor_and_the_plugin_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime(monkeypatch, [GRAPHICS, AUTO, PROCESSOR])
    for threads in (1, 2):
        tuning = Tuning(threads=threads)
        assert providers.session(b"graph", "openvino", tuning) == (b"graph", runtime)
        assert runtime.added.pop() == ([PROCESSOR], openvino_options(tuning))
    assert runtime.registered == [("openvino", "plugin.so")]


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        (Tuning(), {"INFERENCE_PRECISION_HINT": "f32"}),
        (Tuning(threads=3), {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3}),
        (
            Tuning(threads=1, shared=True),
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False},
        ),
    ],
)
def test_openvino_computes_in_fp32_with_the_threads_of_the_tuning(tuning: Tuning, expected: dict[str, Any]) -> None:
    assert {name: json.loads(text) for name, text in openvino_options(tuning).items()} == {
        "load_config": {"CPU": expected}
    }


def test_a_processor_that_the_plugin_does_not_take_is_refused_every_time_with_its_maker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeRuntime(monkeypatch, [])
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"^OpenVINO's plugin takes processors of Intel alone, .* is of AMD$"):
            providers.session(b"graph", "openvino")


def test_without_the_plugin_the_engine_says_what_to_install(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "find_spec", lambda _: None)
    assert not providers.has_openvino()
    with pytest.raises(EngineError, match=r"^OpenVINO's plugin is not installed; .*\(pip install '\.\[openvino\]'\)$"):
        OnnxEngine(tiny_bundle, "openvino")


def test_the_engine_is_one_of_the_processor(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRuntime(monkeypatch, [PROCESSOR])
    monkeypatch.setattr(contract, "broken", lambda *_: None)
    engine = OnnxEngine(tiny_bundle, "openvino")
    assert (engine.name, engine.device, engine.variant) == ("onnx-openvino", "cpu", "fp32")
