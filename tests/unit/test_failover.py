"""Failover: who answers when an engine fails, which errors count, and when the fallback takes over."""

import pytest

from service.engines.engine import EngineError
from service.engines.failover import EnginesFailed
from tests.unit.batching import Clock, assert_answers, pictures
from tests.unit.failing import BAD, FakeEngine, Loader, degrade, failing_over


def test_an_engine_that_does_not_fail_is_the_only_one() -> None:
    first, load = FakeEngine("first"), Loader()
    with failing_over(first, load) as failover:
        assert_answers(failover.run(pictures(1, 2)), 1, 2)
        assert (failover.name, failover.device) == ("first", "device of first")
        assert (failover.degraded, failover.failures, failover.last_reason) == (False, {"first": 0}, None)
        assert load.calls == 0


def test_a_batch_that_fails_is_answered_by_the_fallback_and_the_next_one_by_the_first_engine() -> None:
    first, fallback = FakeEngine("first", broken=True), FakeEngine("second")
    with failing_over(first, load := Loader(fallback)) as failover:
        assert_answers(failover.run(pictures(1, 2)), 1, 2)
        assert_answers(failover.run(pictures(3)), 3)
        first.broken = False
        assert_answers(failover.run(pictures(4)), 4)
        assert (fallback.batches, first.batches) == ([[1, 2], [3]], [[4]])
        assert load.calls == 1
        assert (failover.name, failover.degraded) == ("first", False)
        assert failover.failures == {"first": 2}
        assert failover.last_reason == "first: MemoryError: first has no memory"


def test_rows_name_the_engine_that_computed_them() -> None:
    first = FakeEngine("first")
    with failing_over(first, Loader(FakeEngine("second"))) as failover:
        assert (failover.run(pictures(1)).engines, failover.attempt(pictures(1)).engines) == (("first",), ("first",))
        first.broken = True
        assert failover.run(pictures(1)).engines == ("second",)
        assert failover.name == "first"
        assert [failover.run(pictures(1)).engines for _ in range(3)] == [("second",)] * 3
        assert failover.degraded
        assert failover.attempt(pictures(1)).engines == ("second",)


def test_a_warm_fallback_is_loaded_before_it_is_needed() -> None:
    with failing_over(FakeEngine("first"), load := Loader(FakeEngine("second")), warm=True) as failover:
        assert load.calls == 1
        failover.run(pictures(1))
        assert load.calls == 1


def test_a_fallback_that_cannot_be_loaded_ahead_is_tried_again_when_it_is_needed() -> None:
    first = FakeEngine("first", broken=True)
    with failing_over(first, Loader(EngineError("no memory"), FakeEngine("second")), warm=True) as failover:
        assert_answers(failover.run(pictures(1)), 1)


def test_without_a_fallback_the_first_engine_is_kept_and_its_errors_are_its_own() -> None:
    first = FakeEngine("first", broken=True)
    with failing_over(first, None) as failover:
        for _ in range(10):
            with pytest.raises(MemoryError, match="first has no memory"):
                failover.run(pictures(1))
        assert (failover.degraded, failover.failures) == (False, {"first": 10})
        first.broken = False
        assert_answers(failover.run(pictures(1)), 1)


def test_where_the_fallback_cannot_be_loaded_the_original_error_is_raised() -> None:
    refusals = [EngineError("no second engine here")] * 5
    with failing_over(FakeEngine("first", broken=True), Loader(*refusals)) as failover:
        for _ in refusals:
            with pytest.raises(MemoryError, match="first has no memory"):
                failover.run(pictures(1))
        assert not failover.degraded


@pytest.mark.parametrize(("times", "degraded"), [((0, 30, 60), True), ((0, 30, 60.5), False), ((0, 60, 60.5), False)])
def test_the_third_error_within_a_minute_lets_the_fallback_take_over(times: tuple[float, ...], degraded: bool) -> None:
    first, clock = FakeEngine("first", broken=True), Clock()
    with failing_over(first, Loader(FakeEngine("second")), clock=clock) as failover:
        begin = clock.now
        for seconds in times:
            assert (failover.degraded, failover.name) == (False, "first")
            clock.now = begin + seconds
            assert_answers(failover.run(pictures(1)), 1)
        assert failover.degraded == degraded
        expected = ("second", "device of second") if degraded else ("first", "device of first")
        assert (failover.name, failover.device) == expected
        first.broken = False
        failover.run(pictures(2))
        assert first.batches == ([] if degraded else [[2]])


def test_a_batch_that_fails_on_both_engines_counts_against_neither() -> None:
    first, fallback = FakeEngine("first"), FakeEngine("second")
    with failing_over(first, Loader(fallback)) as failover:
        for _ in range(10):
            with pytest.raises(EnginesFailed) as failure:
                failover.run(pictures(1, BAD))
            assert failure.value.reasons == {"first": "RuntimeError: poisoned", "second": "RuntimeError: poisoned"}
            assert str(failure.value) == "first: RuntimeError: poisoned; second: RuntimeError: poisoned"
        assert not failover.degraded
        assert failover.failures == {"first": 10, "second": 10}
        assert_answers(failover.run(pictures(1)), 1)
        assert first.batches[-1] == [1]


def test_a_fallback_that_fails_while_it_serves_alone_says_why_there_is_no_other() -> None:
    with failing_over(FakeEngine("first", broken=True), Loader(FakeEngine("second"))) as failover:
        degrade(failover)
        with pytest.raises(EnginesFailed, match=r"^first: MemoryError: first has no memory; second: RuntimeError"):
            failover.run(pictures(BAD))
        assert failover.failures == {"first": 3, "second": 1}
        assert failover.last_reason == "second: RuntimeError: poisoned"
        assert_answers(failover.run(pictures(1)), 1)
