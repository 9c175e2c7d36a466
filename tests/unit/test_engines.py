"""Engines: the choice among them, the self-check each must pass, and what the real ones compute."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
import torch

from export.bundle import SELFCHECK, Bundle, Outputs
from export.parity import seeded_noise
from export.tuning import Tuning
from service import engines
from service.engines import EngineError, OnnxEngine, TorchEngine, choose, self_check
from service.settings import ENGINES
from tests.unit.fakes import BUNDLE
from training.pixels import Pixels

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@dataclass
class FakeEngine:
    """The logit of a picture is its first pixel plus `error`: exact in float32."""

    name: str
    error: float = 0.0
    device: str = "fake"
    probability_error: float = 0.0
    variant: str = "fp32"

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        logits = images[:, 0, 0, :1].astype(np.float32) + np.float32(self.error)
        return Outputs(logits, logits + np.float32(self.probability_error))


def loader(reasons: Mapping[str, str]) -> Callable[[str, Bundle], FakeEngine]:
    """Loads every engine but those that have a reason not to run."""

    def load(name: str, _: Bundle) -> FakeEngine:
        if name in reasons:
            raise EngineError(reasons[name])
        return FakeEngine(name)

    return load


@dataclass
class SelfChecked:
    """A bundle of whose files only the self-check is there: four pictures whose logits are their first pixels."""

    name: str = "fake"
    version: str = "0123456789ab"
    images: Pixels = field(default_factory=lambda: np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))

    limits: Mapping[str, float] = field(default_factory=dict)

    def preferred(self, provider: str) -> str:
        """int8 on the CPU, where there is one."""
        return "int8" if provider == "cpu" and "int8" in self.limits else "fp32"

    def selfcheck_limit(self, variant: str) -> float:
        """A thousandth, but for variants that say otherwise."""
        return self.limits.get(variant, 1e-3)

    def load(self, name: str) -> bytes:
        """The content of the self-check."""
        assert name == SELFCHECK
        buffer = io.BytesIO()
        first = self.images[:, 0, 0, :1].astype(np.float32)
        np.savez(buffer, images=self.images, logits=first, probabilities=first)
        return buffer.getvalue()


SELF_CHECKED: Any = SelfChecked()


def test_an_engine_with_right_logits_and_wrong_probabilities_fails_the_self_check() -> None:
    with pytest.raises(EngineError, match=r"its probabilities differ by 1\.0"):
        self_check(FakeEngine("onnx-cpu", probability_error=1.0), SELF_CHECKED)


@pytest.mark.parametrize("first", range(4))
def test_the_first_engine_that_runs_is_chosen_and_those_before_it_have_reasons(first: int) -> None:
    reasons = {name: f"no {name} here" for name in ENGINES[:first]}
    choice = choose("auto", BUNDLE, loader(reasons))
    assert choice.engine.name == ENGINES[first]
    assert dict(choice.passed_over) == reasons


def test_onnx_runtime_comes_before_pytorch_and_cuda_before_the_cpu() -> None:
    assert ENGINES == ("onnx-cuda", "torch-cuda", "onnx-cpu", "torch-cpu")


@pytest.mark.parametrize("name", ENGINES)
def test_a_forced_engine_is_taken_and_no_other_is_tried(name: str) -> None:
    choice = choose(name, BUNDLE, loader({other: "must not be asked" for other in ENGINES if other != name}))
    assert choice.engine.name == name
    assert not choice.passed_over


def test_a_forced_engine_that_cannot_run_is_not_replaced() -> None:
    with pytest.raises(EngineError, match=r"^engine onnx-cuda: no driver$"):
        choose("onnx-cuda", BUNDLE, loader({"onnx-cuda": "no driver"}))


def test_where_no_engine_can_run_every_reason_is_given() -> None:
    with pytest.raises(EngineError) as refusal:
        choose("auto", BUNDLE, loader({name: f"no {name} here" for name in ENGINES}))
    assert str(refusal.value) == (
        "no engine can run (onnx-cuda: no onnx-cuda here; torch-cuda: no torch-cuda here; "
        "onnx-cpu: no onnx-cpu here; torch-cpu: no torch-cpu here)"
    )


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
    monkeypatch.setattr(engines, "OnnxEngine", lambda *_: FakeEngine(name, error=0.3))
    if runs:
        assert engines.load(name, SELF_CHECKED, Tuning(tf32=tf32)).name == name
    else:
        with pytest.raises(EngineError, match=r"its logits differ by 3\.0e-01"):
            engines.load(name, SELF_CHECKED, Tuning(tf32=tf32))


def test_threads_are_those_of_the_tuning(tiny_bundle: Bundle) -> None:
    before = torch.get_num_threads()
    try:
        engines.load("torch-cpu", tiny_bundle, Tuning(threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime gives wrong logits and PyTorch on CUDA fails; only PyTorch on the CPU is right."""

    def torch_engine(_: Bundle, device: str, __: Tuning, variant: str) -> FakeEngine:
        if device == "cuda":
            raise RuntimeError("CUDA error: device-side assert")
        return FakeEngine("torch-cpu", variant=variant)

    def wrong(_: Bundle, device: str, __: Tuning, variant: str) -> FakeEngine:
        return FakeEngine(f"onnx-{device}", error=1.0, variant=variant)

    monkeypatch.setattr(engines, "OnnxEngine", wrong)
    monkeypatch.setattr(engines, "TorchEngine", torch_engine)


@pytest.mark.usefixtures("fake_engines")
def test_engines_that_fail_or_miss_the_self_check_are_passed_over() -> None:
    choice = choose("auto", SELF_CHECKED)
    assert choice.engine.name == "torch-cpu"
    assert list(choice.passed_over) == ["onnx-cuda", "torch-cuda", "onnx-cpu"]
    assert "logits differ by 1.0e+00" in choice.passed_over["onnx-cpu"]
    assert choice.passed_over["torch-cuda"] == "RuntimeError: CUDA error: device-side assert"


def with_int8(error: float) -> Callable[[Any, str, Tuning, str], FakeEngine]:
    """ONNX Runtime, whose int8 variant is wrong by `error`."""

    def engine(_: Any, device: str, __: Tuning, variant: str) -> FakeEngine:
        return FakeEngine(f"onnx-{device}", error if variant == "int8" else 0.0, variant=variant)

    return engine


@pytest.mark.parametrize(("error", "variant"), [(0.25, "int8"), (0.75, "fp32"), (float("nan"), "fp32")])
def test_the_preferred_variant_runs_within_its_own_limit_and_else_fp32(
    monkeypatch: pytest.MonkeyPatch, error: float, variant: str
) -> None:
    monkeypatch.setattr(engines, "OnnxEngine", with_int8(error))
    found = engines.load("onnx-cpu", cast(Bundle, SelfChecked(limits={"int8": 0.5})))
    assert found.variant == variant


def test_a_forced_variant_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "OnnxEngine", with_int8(0.75))
    served = cast(Bundle, SelfChecked(limits={"int8": 0.5}))
    assert engines.load("onnx-cpu", served, variant="fp32").variant == "fp32"
    with pytest.raises(EngineError, match=r"differ by 7\.5e-01 .* \(limit 5e-01\)"):
        engines.load("onnx-cpu", served, variant="int8")


def test_a_variant_that_the_bundle_lacks_is_refused_with_those_it_has(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="this bundle has no variant int8; it has: fp32"):
        engines.load("onnx-cpu", tiny_bundle, variant="int8")


def test_pytorch_runs_no_variant_but_fp32(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="PyTorch runs fp32 alone, not int8"):
        engines.load("torch-cpu", tiny_bundle, variant="int8")


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_real_engine_loads_and_reproduces_the_self_check(tiny_bundle: Bundle, kind: str, device: str) -> None:
    engine = engines.load(f"{kind}-{device}", tiny_bundle)
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
    expected, found = (engines.load(each, tiny_bundle).run(pictures) for each in ("onnx-cpu", name))
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
