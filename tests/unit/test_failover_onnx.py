"""Failover with real sessions of ONNX Runtime: one whose graph cannot run batches of three, and one that can."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.engines.engine import OnnxEngine
from service.engines.failover import EnginesFailed, Failover, Policy
from training.pixels import Pixels

FAILING = 3


def graph(failing: int) -> bytes:
    """The logit of a picture [1, 1, 1] is its pixel; a batch of `failing` pictures reads past the end of a table."""
    nodes = [
        helper.make_node("Shape", ["images"], ["count"], start=0, end=1),
        helper.make_node("Equal", ["count", "failing"], ["fails"]),
        helper.make_node("Cast", ["fails"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["zero"]),
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["rows"]),
        helper.make_node("Add", ["rows", "zero"], ["logits"]),
        helper.make_node("Add", ["logits", "half"], ["probabilities"]),
    ]
    constants = [
        helper.make_tensor("failing", TensorProto.INT64, [1], [failing]),
        helper.make_tensor("table", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("flat", TensorProto.INT64, [2], [-1, 1]),
        helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 1, 1])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 1]) for n in ("logits", "probabilities")]
    made = helper.make_graph(nodes, "fails_for_one_size", [images], outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@dataclass
class GraphOnly:
    """A bundle of which only the graph is there, with what it promises of it."""

    content: bytes
    size: int = 1
    channels: int = 1
    classes: tuple[str, ...] = ("one",)
    has_weights: bool = False

    def load_variant(self, _: str) -> bytes:
        """The graph."""
        return self.content


def engine(failing: int = 0, name: str = "onnx-cpu") -> OnnxEngine:
    """By default one that runs every batch."""
    bundle: Any = GraphOnly(graph(failing))
    made = OnnxEngine(bundle, "cpu")
    made.name = name
    return made


def batch(size: int) -> Pixels:
    return np.arange(size, dtype=np.uint8).reshape(size, 1, 1, 1)


def check(failover: Failover, size: int) -> None:
    outputs = failover.run(batch(size)).outputs
    np.testing.assert_array_equal(outputs.logits, np.arange(size, dtype=np.float32).reshape(size, 1), strict=True)
    np.testing.assert_array_equal(outputs.probabilities, outputs.logits + np.float32(0.5), strict=True)


def test_the_graph_fails_as_promised() -> None:
    with pytest.raises(Exception, match="indices element out of data bounds"):
        engine(FAILING).run(batch(FAILING))


def test_a_size_that_the_first_session_cannot_run_is_answered_by_the_second() -> None:
    failover = Failover(engine(FAILING, "first"), lambda: engine(name="second"), engine, Policy())
    for size in (1, FAILING, 2, FAILING, 5):
        check(failover, size)
    assert failover.failures == {"first": 2}
    assert "indices element out of data bounds" in str(failover.last_reason)
    assert failover.name == "first"


def test_a_session_that_fails_again_and_again_is_replaced_until_a_new_one_is_loaded() -> None:
    failover = Failover(
        engine(FAILING, "first"),
        lambda: engine(name="second"),
        lambda: engine(name="first"),
        Policy(),
        wait=lambda _: False,
    )
    for _ in range(3):
        check(failover, FAILING)
    failover.close(grace=30)
    assert (failover.name, failover.degraded) == ("first", False)
    check(failover, FAILING)
    assert failover.failures == {"first": 3}


def test_where_both_sessions_fail_the_reasons_are_those_of_onnx_runtime() -> None:
    failover = Failover(engine(FAILING, "first"), lambda: engine(FAILING, "second"), engine, Policy())
    with pytest.raises(EnginesFailed) as failure:
        failover.run(batch(FAILING))
    assert list(failure.value.reasons) == ["first", "second"]
    assert all("indices element out of data bounds" in reason for reason in failure.value.reasons.values())
    check(failover, 4)
