"""Which engine serves and which may stand in for it, and why there is none where there is none."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from export import providers
from export.bundle import Bundle
from export.tuning import Tuning
from service import serving
from service.cores import Plan
from service.engines import loading
from service.engines.choice import Choice
from service.engines.engine import EngineError
from service.metrics import Metrics
from service.serving import fallbacks_of, load
from service.settings import ENGINES, Settings
from tests.unit.fakes import BUNDLE, ChannelEngine

PLAN = Plan(workers=1, threads=1, decoders=1)
IMPORTED = replace(BUNDLE, document={**BUNDLE.document, "files": {}})


def chosen(name: str, *behind: str) -> Choice:
    engine = ChannelEngine()
    engine.name = name
    return Choice(engine, {}, behind)


def test_every_engine_behind_the_chosen_one_may_stand_in() -> None:
    assert fallbacks_of(chosen("onnx-cuda", *ENGINES[1:]), "auto", BUNDLE) == (ENGINES[1:], None)


def test_the_last_engine_has_none_behind_it() -> None:
    assert fallbacks_of(chosen("torch-cpu"), "auto", BUNDLE) == ((), "torch-cpu is the last engine of all")


def test_an_engine_that_was_asked_for_by_name_has_none_behind_it() -> None:
    reason = "ALEXNET_ENGINE=onnx-cpu allows no other engine"
    assert fallbacks_of(chosen("onnx-cpu"), "onnx-cpu", BUNDLE) == ((), reason)


def test_without_pytorch_there_is_no_fallback_on_the_cpu_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda _: None)
    names, reason = fallbacks_of(chosen("onnx-cpu", "torch-cpu"), "auto", BUNDLE)
    assert names == ()
    assert str(reason).startswith("PyTorch is not installed")
    behind = fallbacks_of(chosen("onnx-cuda", "torch-cuda", "onnx-cpu", "torch-cpu"), "auto", BUNDLE)
    assert behind == (("onnx-cpu",), None)


def test_an_imported_model_has_no_pytorch_engine_behind_it() -> None:
    names, reason = fallbacks_of(chosen("onnx-cpu", "torch-cpu"), "auto", IMPORTED)
    assert names == ()
    assert str(reason).startswith("this model was imported as ONNX")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[ChannelEngine]:
    """The engines that are loaded in the test, where those on CUDA cannot run."""
    loaded: list[ChannelEngine] = []

    def load_fake(name: str, _: Bundle, __: Tuning, variant: str) -> ChannelEngine:
        if name.endswith("cuda"):
            raise EngineError("there is no NVIDIA driver here")
        engine = ChannelEngine()
        engine.name, engine.variant = name, "int8" if variant == "auto" else variant
        loaded.append(engine)
        return engine

    monkeypatch.setattr(loading, "load", load_fake)
    monkeypatch.setattr(providers, "has_openvino", lambda: False)
    return loaded


def test_the_graph_that_is_asked_for_binds_the_first_engine_alone(loaded: list[ChannelEngine]) -> None:
    load(Settings(warm_fallback=True, variant="fp16"), PLAN, BUNDLE, Metrics("1", CollectorRegistry()))
    assert [engine.variant for engine in loaded] == ["fp16", "int8"]


@pytest.mark.parametrize(("warm", "names"), [(False, ["onnx-cpu"]), (True, ["onnx-cpu", "torch-cpu"])])
def test_the_engine_behind_the_first_is_loaded_at_the_start_where_the_settings_say_so(
    loaded: list[ChannelEngine], warm: bool, names: list[str]
) -> None:
    found = load(Settings(warm_fallback=warm), PLAN, BUNDLE, Metrics("1", CollectorRegistry()))
    assert [engine.name for engine in loaded] == names
    assert found.failover.name == "onnx-cpu"
    assert list(found.passed_over) == ["onnx-cuda", "torch-cuda"]
    assert found.fallbacks == ("torch-cpu",)


def test_an_engine_has_run_every_size_of_batch_before_it_serves(loaded: list[ChannelEngine]) -> None:
    load(Settings(max_batch=6), PLAN, BUNDLE, Metrics("1", CollectorRegistry()))
    assert [engine.batches for engine in loaded] == [[1, 2, 4, 6]]
