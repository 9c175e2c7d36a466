"""The way back of an engine that was let go: pauses, attempts, memory, and what the log says of it."""

import gc
import logging
import threading
import weakref
from itertools import islice

import pytest

from service.engines.engine import Engine, EngineError
from service.engines.failover import Failover, Policy
from tests.unit.batching import assert_answers, pictures
from tests.unit.failing import FakeEngine, Loader, Pauses, brought_back, degrade, failing_over


def test_pauses_grow_to_a_minute() -> None:
    assert list(islice(Policy().pauses(), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_engine_is_tried_again_after_growing_pauses_until_it_serves() -> None:
    back = FakeEngine("first")
    reload = Loader(EngineError("no device"), ValueError("odd"), EngineError("no device"), back)
    with failing_over(
        FakeEngine("first", broken=True), Loader(FakeEngine("second")), reload, wait=(pauses := Pauses())
    ) as failover:
        degrade(failover)
        brought_back(failover, pauses, attempts=4)
        assert pauses.seconds == [1, 2, 4, 8]
        assert (failover.degraded, failover.name) == (False, "first")
        assert_answers(failover.run(pictures(5)), 5)
        assert back.batches == [[5]]


def test_an_engine_that_is_back_begins_with_no_errors_and_may_be_lost_again() -> None:
    fallback = FakeEngine("second")
    reload = Loader(FakeEngine("first", broken=True), FakeEngine("first"))
    with failing_over(
        FakeEngine("first", broken=True), load := Loader(fallback), reload, wait=(pauses := Pauses())
    ) as failover:
        degrade(failover)
        brought_back(failover, pauses, attempts=1)
        degrade(failover)
        brought_back(failover, pauses, attempts=1)
        assert_answers(failover.run(pictures(5)), 5)
        assert pauses.seconds == [1, 1]
        assert load.calls == 1
        assert failover.failures == {"first": 6}
        assert len(fallback.batches) == 6


def test_why_an_engine_cannot_be_loaded_again_is_told() -> None:
    reload = Loader(EngineError("no device"), FakeEngine("first"))
    with failing_over(
        FakeEngine("first", broken=True), Loader(FakeEngine("second")), reload, wait=(pauses := Pauses())
    ) as failover:
        degrade(failover)
        brought_back(failover, pauses, attempts=2)
        assert failover.last_reason == "first: it cannot be loaded again (no device)"


def test_batches_run_while_the_first_engine_is_loaded() -> None:
    loading, go_on = threading.Event(), threading.Event()

    def reload() -> Engine:
        loading.set()
        go_on.wait()
        return FakeEngine("first")

    with failing_over(
        FakeEngine("first", broken=True), Loader(FakeEngine("second")), reload, wait=(pauses := Pauses())
    ) as failover:
        degrade(failover)
        pauses.end()
        try:
            assert loading.wait(30)
            assert_answers(failover.run(pictures(1)), 1)
            assert failover.name == "second"
        finally:
            go_on.set()
        failover.close(grace=30)
        assert failover.name == "first"


def test_the_memory_of_an_engine_that_was_let_go_is_free_before_it_is_loaded_again() -> None:
    alive: list[object] = []

    def reload() -> Engine:
        alive.append(lost())
        return FakeEngine("first")

    first = FakeEngine("first", broken=True)
    lost = weakref.ref(first)
    pauses = Pauses()
    pauses.end()  # the attempt may begin before `run` has returned
    gc.disable()
    try:
        failover = Failover(first, Loader(FakeEngine("second")), reload, Policy(), wait=pauses)
        del first
        for _ in range(3):
            failover.run(pictures(0))
        failover.close(grace=30)
    finally:
        gc.enable()
    assert alive == [None]


def test_closing_ends_a_pause_and_the_thread() -> None:
    failover = Failover(
        FakeEngine("first", broken=True),
        Loader(FakeEngine("second")),
        reload := Loader(),
        Policy(first_pause_seconds=3600, longest_pause_seconds=3600),
    )
    degrade(failover)
    threads = [thread for thread in threading.enumerate() if thread.name == "engine-recovery"]
    assert len(threads) == 1
    failover.close(grace=30)
    assert not threads[0].is_alive()
    assert reload.calls == 0
    assert_answers(failover.run(pictures(1)), 1)


def test_changes_are_logged_once_and_batches_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "alexnet")
    load = Loader(EngineError("busy"), EngineError("busy"), FakeEngine("second"))
    reload = Loader(EngineError("no device"), FakeEngine("first"))
    with failing_over(FakeEngine("first", broken=True), load, reload, wait=(pauses := Pauses())) as failover:
        for _ in range(2):
            with pytest.raises(MemoryError):
                failover.run(pictures(1))
        degrade(failover)
        for _ in range(5):
            failover.run(pictures(1))
        brought_back(failover, pauses, attempts=2)
        for _ in range(5):
            failover.run(pictures(1))
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("alexnet", level, message)
        for level, message in [
            ("WARNING", "no engine can stand in for first: busy"),
            ("INFO", "engine second is loaded, to stand in for first"),
            (
                "WARNING",
                "engine first failed on a batch and its fallback ran it (first: MemoryError: first has no memory)",
            ),
            (
                "WARNING",
                "engine first failed too often (first: MemoryError: first has no memory); its fallback takes over",
            ),
            ("INFO", "engine first serves again, loaded at attempt 2"),
        ]
    ]
