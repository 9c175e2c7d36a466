"""Engines: the self-check each must pass, which variant it runs, and what the real ones compute."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from export.bundle import Bundle, Outputs
from export.parity import seeded_noise
from export.tuning import Tuning
from service.engines import loading
from service.engines.engine import EngineError, OnnxEngine, TorchEngine
from service.engines.loading import self_check
from tests.unit.self_checked import FakeEngine, SelfChecked

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
SELF_CHECKED: Any = SelfChecked()


def test_an_engine_with_right_logits_and_wrong_probabilities_fails_the_self_check() -> None:
    with pytest.raises(EngineError, match=r"its probabilities differ by 1\.0"):
        self_check(FakeEngine("onnx-cpu", probability_error=1.0), SELF_CHECKED)


@pytest.mark.parametrize("error", [0.0, 0.0009, -0.0009])
def test_the_self_check_allows_a_small_difference(error: float) -> None:
    self_check(FakeEngine("fake", error), SELF_CHECKED)


@pytest.mark.parametrize("error", [0.002, -0.002, float("nan"), float("inf")])
def test_the_self_check_refuses_other_logits(error: float) -> None:
    with pytest.raises(EngineError, match=r"^its logits differ by .* from the bundle's self-check \(limit 1e-03\)$"):
        self_check(FakeEngine("fake", error), SELF_CHECKED)


@pytest.mark.parametrize(
    ("name", "tf32", "runs"), [("onnx-cuda", True, True), ("onnx-cuda", False, False), ("onnx-cpu", True, False)]
)
def test_where_tf32_is_asked_for_onnx_runtime_may_differ_by_more_on_cuda_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, tf32: bool, runs: bool
) -> None:
    monkeypatch.setattr(loading, "OnnxEngine", lambda *_: FakeEngine(name, error=0.3))
    if runs:
        assert loading.load(name, SELF_CHECKED, Tuning(tf32=tf32)).name == name
    else:
        with pytest.raises(EngineError, match=r"its logits differ by 3\.0e-01"):
            loading.load(name, SELF_CHECKED, Tuning(tf32=tf32))


def test_threads_are_those_of_the_tuning(tiny_bundle: Bundle) -> None:
    before = torch.get_num_threads()
    try:
        loading.load("torch-cpu", tiny_bundle, Tuning(threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def with_int8(error: float) -> Callable[[Any, str, Tuning, str], FakeEngine]:
    """ONNX Runtime, whose int8 variant is wrong by `error`."""

    def engine(_: Any, device: str, __: Tuning, variant: str) -> FakeEngine:
        return FakeEngine(f"onnx-{device}", error if variant == "int8" else 0.0, variant=variant)

    return engine


@pytest.mark.parametrize(("error", "variant"), [(0.25, "int8"), (0.75, "fp32"), (float("nan"), "fp32")])
def test_the_preferred_variant_runs_within_its_own_limit_and_else_fp32(
    monkeypatch: pytest.MonkeyPatch, error: float, variant: str
) -> None:
    monkeypatch.setattr(loading, "OnnxEngine", with_int8(error))
    found = loading.load("onnx-cpu", cast(Bundle, SelfChecked(limits={"int8": 0.5})))
    assert found.variant == variant


def test_a_forced_variant_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "OnnxEngine", with_int8(0.75))
    served = cast(Bundle, SelfChecked(limits={"int8": 0.5}))
    assert loading.load("onnx-cpu", served, variant="fp32").variant == "fp32"
    with pytest.raises(EngineError, match=r"differ by 7\.5e-01 .* \(limit 5e-01\)"):
        loading.load("onnx-cpu", served, variant="int8")


def test_a_variant_that_the_bundle_lacks_is_refused_with_those_it_has(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="this bundle has no variant int8; it has: fp32"):
        loading.load("onnx-cpu", tiny_bundle, variant="int8")


def test_pytorch_runs_no_variant_but_fp32(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="PyTorch runs fp32 alone, not int8"):
        loading.load("torch-cpu", tiny_bundle, variant="int8")


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_real_engine_loads_and_reproduces_the_self_check(tiny_bundle: Bundle, kind: str, device: str) -> None:
    engine = loading.load(f"{kind}-{device}", tiny_bundle)
    assert (engine.name, engine.device) == (f"{kind}-{device}", device)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("torch-cpu", 1e-4),
        pytest.param("onnx-cuda", 1e-3, marks=pytest.mark.gpu),
        pytest.param("torch-cuda", 1e-3, marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_engines_agree(tiny_bundle: Bundle, name: str, limit: float, count: int) -> None:
    pictures = seeded_noise(count, tiny_bundle.size, tiny_bundle.channels, seed=count)
    expected, found = (loading.load(each, tiny_bundle).run(pictures) for each in ("onnx-cpu", name))
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=limit)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=0, atol=limit)


def test_pytorch_computes_in_full_fp32_and_not_in_tf32(tiny_bundle: Bundle) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        TorchEngine(tiny_bundle, "cpu")
        assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("engine", [OnnxEngine, TorchEngine])
def test_outputs_are_float32_and_probabilities_sum_to_one(tiny_bundle: Bundle, engine: Any) -> None:
    pictures = seeded_noise(3, tiny_bundle.size, tiny_bundle.channels)
    outputs: Outputs = engine(tiny_bundle, "cpu").run(pictures)
    assert {array.dtype for array in outputs} == {np.dtype(np.float32)}
    assert {array.shape for array in outputs} == {(3, len(tiny_bundle.classes))}
    np.testing.assert_allclose(outputs.probabilities.sum(axis=1), 1, atol=1e-6)
