"""--profile: a trace of ten training steps, or a line that says why there is none."""

import json
from pathlib import Path

import pytest

from tests.unit.runs import RECIPE, quick_train
from training.loop import Extras
from training.recipe import Stage
from training.reports import trace


def steps(path: Path) -> list[str]:
    """The names of the steps in a trace, in order of their start."""
    events = json.loads(path.read_text())["traceEvents"]
    found = [event for event in events if event.get("cat") == "user_annotation"]
    return [event["name"] for event in sorted(found, key=lambda event: event["ts"]) if "Step#" in event["name"]]


def take(count: int, path: Path) -> None:
    """Trace `count` steps of nothing."""
    with trace.traced(path) as after_step:
        for _ in range(count):
            after_step()


def test_a_profiled_run_leaves_a_trace_of_ten_steps(tmp_path: Path) -> None:
    recipe = RECIPE.changed({"stages": (Stage(1, 6, 0.05),)})  # 16 steps
    quick_train(tmp_path, recipe, extras=Extras(profiled=True))
    assert steps(tmp_path / "trace.json") == [f"ProfilerStep#{number}" for number in range(3, 13)]


def test_a_trace_names_the_operations_of_a_step(tmp_path: Path) -> None:
    quick_train(tmp_path, RECIPE.changed({"stages": (Stage(1, 6, 0.05),)}), extras=Extras(profiled=True))
    names = {event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert {"aten::conv2d", "aten::max_pool2d", "aten::linear"} <= names


def test_without_asking_there_is_no_trace(tmp_path: Path) -> None:
    quick_train(tmp_path, RECIPE.changed({"stages": (Stage(1, 6, 0.05),)}))
    assert not (tmp_path / "trace.json").exists()


@pytest.mark.parametrize("count", [13, 14, 30])
def test_thirteen_steps_are_enough(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(count, tmp_path / "trace.json")
    assert len(steps(tmp_path / "trace.json")) == 10
    assert "no trace" not in capsys.readouterr().out


@pytest.mark.parametrize("count", [0, 2, 3, 7, 12])
def test_fewer_steps_leave_no_trace_and_say_so(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(count, tmp_path / "trace.json")
    assert not (tmp_path / "trace.json").exists()
    assert "no trace: the run had fewer than 13 steps left" in capsys.readouterr().out


def test_a_run_with_too_few_steps_trains_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = quick_train(tmp_path, extras=Extras(profiled=True))
    assert "test" in result.metadata.accuracy
    assert "no trace: the run had fewer than 13 steps left" in capsys.readouterr().out
