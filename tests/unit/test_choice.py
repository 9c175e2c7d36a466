"""The choice among engines: the first that runs, and of OpenVINO's and the built-in one the one that is faster."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from export import providers
from export.bundle import Bundle, Outputs
from export.tuning import Tuning
from service.engines import loading
from service.engines.choice import Choice, choose, first
from service.engines.engine import EngineError
from service.settings import ENGINES
from tests.unit.fakes import BUNDLE
from tests.unit.self_checked import FakeEngine, SelfChecked
from training.pixels import Pixels

PLAIN = ("onnx-cuda", "torch-cuda", "onnx-cpu", "torch-cpu")
NO_CUDA = {"onnx-cuda": "no driver", "torch-cuda": "no driver"}
SELF_CHECKED: Any = SelfChecked()


@pytest.fixture
def without_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which OpenVINO's plugin is not installed."""
    monkeypatch.setattr(providers, "has_openvino", lambda: False)


@pytest.fixture
def with_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which it is."""
    monkeypatch.setattr(providers, "has_openvino", lambda: True)


def loader(reasons: Mapping[str, str]) -> Callable[[str, Bundle], FakeEngine]:
    """Loads every engine but those that have a reason not to run."""

    def load(name: str, _: Bundle) -> FakeEngine:
        if name in reasons:
            raise EngineError(reasons[name])
        return FakeEngine(name)

    return load


@pytest.mark.usefixtures("without_plugin")
@pytest.mark.parametrize("place", range(4))
def test_the_first_engine_that_runs_is_chosen_and_those_before_it_have_reasons(place: int) -> None:
    reasons = {name: f"no {name} here" for name in PLAIN[:place]}
    choice = choose("auto", BUNDLE, loader(reasons))
    assert choice.engine.name == PLAIN[place]
    assert dict(choice.passed_over) == reasons
    assert choice.behind == PLAIN[place + 1 :]


def test_onnx_runtime_comes_before_pytorch_and_cuda_before_the_cpu() -> None:
    assert ENGINES == ("onnx-cuda", "torch-cuda", "onnx-openvino", "onnx-cpu", "torch-cpu")


@pytest.mark.usefixtures("without_plugin")
def test_where_openvino_is_not_installed_nothing_is_said_of_it() -> None:
    choice = choose("auto", BUNDLE, loader(NO_CUDA))
    assert choice.engine.name == "onnx-cpu"
    assert "onnx-openvino" not in {*choice.passed_over, *choice.behind}


@pytest.mark.parametrize("name", ENGINES)
def test_a_forced_engine_is_taken_and_no_other_is_tried(name: str) -> None:
    choice = choose(name, BUNDLE, loader({other: "must not be asked" for other in ENGINES if other != name}))
    assert choice.engine.name == name
    assert not choice.passed_over
    assert not choice.behind


def test_a_forced_engine_that_cannot_run_is_not_replaced() -> None:
    with pytest.raises(EngineError, match=r"^engine onnx-cuda: no driver$"):
        choose("onnx-cuda", BUNDLE, loader({"onnx-cuda": "no driver"}))


@pytest.mark.usefixtures("without_plugin")
def test_where_no_engine_can_run_every_reason_is_given() -> None:
    with pytest.raises(EngineError) as refusal:
        choose("auto", BUNDLE, loader({name: f"no {name} here" for name in ENGINES}))
    assert str(refusal.value) == (
        "no engine can run (onnx-cuda: no onnx-cuda here; torch-cuda: no torch-cuda here; "
        "onnx-cpu: no onnx-cpu here; torch-cpu: no torch-cpu here)"
    )


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime gives wrong logits and PyTorch on CUDA fails; only PyTorch on the CPU is right."""

    def torch_engine(_: Bundle, device: str, __: Tuning, variant: str) -> FakeEngine:
        if device == "cuda":
            raise RuntimeError("CUDA error: device-side assert")
        return FakeEngine("torch-cpu", variant=variant)

    def wrong(_: Bundle, device: str, __: Tuning, variant: str) -> FakeEngine:
        return FakeEngine(f"onnx-{device}", error=1.0, variant=variant)

    monkeypatch.setattr(loading, "OnnxEngine", wrong)
    monkeypatch.setattr(loading, "TorchEngine", torch_engine)


@pytest.mark.usefixtures("fake_engines", "without_plugin")
def test_engines_that_fail_or_miss_the_self_check_are_passed_over() -> None:
    choice = choose("auto", SELF_CHECKED)
    assert choice.engine.name == "torch-cpu"
    assert list(choice.passed_over) == ["onnx-cuda", "torch-cuda", "onnx-cpu"]
    assert "logits differ by 1.0e+00" in choice.passed_over["onnx-cpu"]
    assert choice.passed_over["torch-cuda"] == "RuntimeError: CUDA error: device-side assert"


class Clock:
    """Seconds that pass only where an engine lets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedEngine(FakeEngine):
    """Takes so many seconds for a batch, whatever is in it."""

    def __init__(self, name: str, clock: Clock, seconds: list[float]) -> None:
        super().__init__(name)
        self._clock, self._seconds, self._runs = clock, seconds, 0

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]; each run takes the next of the seconds, and the last of them for ever."""
        self._clock.now += self._seconds[min(self._runs, len(self._seconds) - 1)]
        self._runs += 1
        return super().run(images)


def never() -> float:
    """A clock that nobody may look at."""
    raise AssertionError("something was measured")


def compared(openvino: list[float], built_in: list[float]) -> Choice:
    """The choice where there is no CUDA, and the two engines on the processor take those seconds for batches of 8."""
    clock = Clock()
    seconds = {"onnx-openvino": openvino, "onnx-cpu": built_in}

    def load(name: str, _: Bundle) -> FakeEngine:
        if name in NO_CUDA:
            raise EngineError(NO_CUDA[name])
        return TimedEngine(name, clock, seconds[name])

    return choose("auto", BUNDLE, load, clock)


@pytest.mark.usefixtures("with_plugin")
@pytest.mark.parametrize(
    ("openvino", "built_in", "faster", "slower", "reason"),
    [
        (0.25, 0.5, "onnx-openvino", "onnx-cpu", "16 pictures a second, onnx-openvino 32"),
        (0.5, 0.125, "onnx-cpu", "onnx-openvino", "16 pictures a second, onnx-cpu 64"),
        (0.5, 0.5, "onnx-cpu", "onnx-openvino", "16 pictures a second, onnx-cpu 16"),
    ],
)
def test_of_openvino_and_the_built_in_provider_the_faster_serves_and_the_other_stands_behind_it(
    openvino: float, built_in: float, faster: str, slower: str, reason: str
) -> None:
    choice = compared([openvino], [built_in])
    assert choice.engine.name == faster
    assert choice.passed_over == {**NO_CUDA, slower: f"it is slower here: {reason} (in batches of 8)"}
    assert choice.behind == (slower, "torch-cpu")


@pytest.mark.usefixtures("with_plugin")
def test_a_machine_that_is_slow_for_a_moment_does_not_decide() -> None:
    # Of each round the first run warms up, and the second counts: two of five rounds are slow.
    slow = [0.25, 4.0, 0.25, 4.0, 0.25]
    assert compared(slow, [0.5]).engine.name == "onnx-openvino"


@pytest.mark.usefixtures("with_plugin")
@pytest.mark.parametrize("missing", ["onnx-openvino", "onnx-cpu"])
def test_where_one_of_the_two_cannot_run_the_other_serves_unmeasured(missing: str) -> None:
    choice = choose("auto", BUNDLE, loader({**NO_CUDA, missing: "it cannot be loaded"}), never)
    assert {choice.engine.name, missing} == {"onnx-openvino", "onnx-cpu"}


@pytest.mark.usefixtures("with_plugin")
def test_a_processor_that_the_plugin_does_not_take_is_told() -> None:
    choice = choose("auto", BUNDLE, loader({**NO_CUDA, "onnx-openvino": "it takes Intel's alone"}))
    assert choice.passed_over["onnx-openvino"] == "it takes Intel's alone"
    assert choice.behind == ("torch-cpu",)


def test_an_engine_that_was_slower_is_taken_as_a_fallback_without_a_comparison() -> None:
    assert first(("onnx-openvino", "torch-cpu"), BUNDLE, loader({}), never).engine.name == "onnx-openvino"
