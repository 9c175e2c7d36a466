"""Buffers that stay, for every size of batch: what a session reads from them and writes to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest

from export import providers
from export.bundle import Bundle, Outputs
from export.parity import seeded_noise
from service.engines import binding
from service.engines.binding import Bound, pageable
from service.engines.engine import OnnxEngine
from tests.unit.test_failover_onnx import graph
from training.pixels import Pixels


class Allocator:
    """Ordinary memory, and a list of what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], type]] = []

    def __call__(self, shape: Sequence[int], kind: type) -> Any:
        """An OrtValue of that shape and type."""
        self.asked.append((tuple(shape), kind))
        return pageable(shape, kind)


def pixels(*values: int) -> Pixels:
    """A picture of one pixel for each value; its logit is the pixel, its probability half more."""
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def bound(allocate: binding.Allocate = pageable, failing: int = 0) -> Bound:
    """A real session on the CPU."""
    return Bound(providers.session(graph(failing), "cpu"), 1, allocate)


def logits(outputs: Outputs) -> list[float]:
    """One for each picture."""
    return [float(value) for value in outputs.logits[:, 0]]


def test_each_batch_has_its_own_outputs() -> None:
    session = bound()
    first, second = session.run(pixels(1, 2)), session.run(pixels(3, 4))
    assert (logits(first), logits(second)) == ([1, 2], [3, 4])
    assert second.probabilities.tolist() == [[3.5], [4.5]]


def test_every_size_of_batch_has_one_set_of_buffers() -> None:
    allocator = Allocator()
    session = bound(allocator)
    found = [logits(session.run(pixels(*range(count)))) for count in (1, 2, 1, 2)]
    assert found == [[0], [0, 1], [0], [0, 1]]
    one, two = ([((n, 1, 1, 1), np.uint8), ((n, 1), np.float32), ((n, 1), np.float32)] for n in (1, 2))
    assert allocator.asked == [*one, *two]


def test_pictures_that_do_not_lie_side_by_side_in_memory_are_read_as_they_are_shown() -> None:
    assert logits(bound().run(pixels(1, 2, 3, 4)[::-2])) == [4, 2]


def test_a_batch_that_fails_leaves_the_next_one_alone() -> None:
    session = bound(failing=3)
    session.run(pixels(1, 2))
    with pytest.raises(Exception, match="Gather"):
        session.run(pixels(1, 2, 3))
    assert logits(session.run(pixels(5, 6))) == [5, 6]


def test_outputs_are_those_of_the_engine(tiny_bundle: Bundle) -> None:
    pictures = seeded_noise(5, tiny_bundle.size, tiny_bundle.channels)
    session = providers.session(tiny_bundle.load_variant("fp32"), "cpu")
    found = Bound(session, len(tiny_bundle.classes), pageable).run(pictures)
    for array, expected in zip(found, OnnxEngine(tiny_bundle, "cpu").run(pictures), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_memory_of_a_provider_is_allocated_again_and_again_and_shown_as_it_is() -> None:
    kind, place = onnxruntime.OrtAllocatorType.ORT_DEVICE_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, place)
    for count in (1, 2):
        value = binding.allocated((count,), np.float32, "CPUExecutionProvider", memory)
        value.numpy()[:] = 7
        assert value.numpy().tolist() == [7] * count


def test_without_page_locked_memory_the_ordinary_does_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("no device")

    monkeypatch.setattr(binding, "pinned", none)
    assert binding.pinned_or_pageable() is pageable
    assert "no page-locked memory beside onnx-cuda (RuntimeError: no device)" in caplog.text


def test_the_engine_on_cuda_runs_from_buffers(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = providers.session(tiny_bundle.load_variant("fp32"), "cpu")
    monkeypatch.setattr(providers, "require_cuda_driver", lambda: None)
    monkeypatch.setattr(providers, "session", lambda *_: real)
    monkeypatch.setattr(real, "run", lambda *_: pytest.fail("the session was run without its buffers"))
    allocator = Allocator()
    monkeypatch.setattr(binding, "pinned_or_pageable", lambda: allocator)
    OnnxEngine(tiny_bundle, "cuda").run(seeded_noise(2, tiny_bundle.size, tiny_bundle.channels))
    assert [shape[0] for shape, _ in allocator.asked] == [2, 2, 2]


@pytest.mark.gpu
def test_beside_cuda_there_is_page_locked_memory() -> None:
    onnxruntime.preload_dlls()
    assert binding.pinned_or_pageable() is binding.pinned
    value = binding.pinned((2,), np.float32)
    value.numpy()[:] = 3
    assert value.numpy().tolist() == [3, 3]
