"""Requests that the batcher refuses, drops at their deadline, or forgets because their client left."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.batching.waiting import DeadlineExceeded, Line, QueueFull, Request, RequestTooLarge
from tests.unit.batching import (
    HOUR_MS,
    SHAPE,
    Clock,
    GatedEngine,
    NumberEngine,
    Seen,
    answer,
    assert_answers,
    batching,
    ends_of,
    named,
    pictures,
    settled,
    submitted,
)
from training.pixels import Pixels


def test_a_full_queue_refuses_and_counts_only_what_waits() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_queue=3) as batcher:
            tasks = [await submitted(batcher, 1, 2, 3)]
            assert await engine.next_batch() == [1, 2, 3]
            tasks.append(await submitted(batcher, 4, 5))
            with pytest.raises(QueueFull):
                await batcher.submit(pictures(6, 7))
            tasks.append(await submitted(batcher, 8))
            with pytest.raises(QueueFull):
                await batcher.submit(pictures(9))
            engine.go_on(2)
            assert [len((await task).outputs.logits) for task in tasks] == [3, 2, 1]
            assert engine.batches == [[1, 2, 3], [4, 5, 8]]

    asyncio.run(scenario())


def test_who_is_refused_is_told_when_what_waits_and_runs_will_be_done() -> None:
    clock = Clock()

    class SlowEngine(GatedEngine):
        def run(self, images: Pixels) -> Outputs:
            clock.now += 0.5 * len(images)
            return super().run(images)

    async def scenario() -> None:
        async with batching(engine := SlowEngine(), clock=clock, max_batch=4, max_queue=3) as batcher:
            first = await submitted(batcher, 1, 2)
            await engine.next_batch()
            await submitted(batcher, 3, 4, 5)
            with pytest.raises(QueueFull) as unknown:
                await batcher.submit(pictures(6))
            assert unknown.value.retry_after == 1.0
            engine.go_on()
            await first
            await engine.next_batch()  # three run, at half a second each
            await submitted(batcher, 6, 7)
            with pytest.raises(QueueFull, match=r"try again in 2\.5 s") as known:
                await batcher.submit(pictures(8, 9))
            assert known.value.retry_after == 2.5

    asyncio.run(scenario())


def test_recent_batches_tell_more_of_the_pace_than_older_ones() -> None:
    clock = Clock()

    def run(images: Pixels) -> Outputs:
        clock.now += images[0, 0, 0, 0]
        return answer(range(len(images)))

    async def scenario() -> None:
        batcher = Batcher(named(run), SHAPE, Limits(max_queue=1), clock=clock)
        await batcher.submit(pictures(1))
        await batcher.submit(pictures(3))
        _, refused = await ends_of(batcher.submit(pictures(1)), batcher.submit(pictures(1)))
        assert isinstance(refused, QueueFull)
        assert refused.retry_after == pytest.approx((0.9 * 1 + 3) / (0.9 + 1))
        await batcher.close(grace=30)

    asyncio.run(scenario())


def test_more_pictures_than_may_ever_wait_are_refused_for_good() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), max_batch=2, max_queue=3) as batcher:
            with pytest.raises(RequestTooLarge, match="4 pictures are more than the 3 that may wait"):
                await batcher.submit(pictures(1, 2, 3, 4))
            assert_answers(await batcher.submit(pictures(1, 2, 3)), 1, 2, 3)
            assert engine.batches == [[1, 2], [3]]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, *SHAPE), np.uint8),
        np.zeros(SHAPE, np.uint8),
        np.zeros((1, 2, 3, 1), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((1, *SHAPE), np.float32),
    ],
    ids=["none", "no batch", "other size", "other channels", "other type"],
)
def test_pictures_that_would_spoil_a_batch_are_refused(images: Any) -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine()) as batcher:
            with pytest.raises(ValueError, match=r"pictures must be uint8 of the shape \(1 or more, 2, 2, 1\)"):
                await batcher.submit(images)
            assert not engine.batches

    asyncio.run(scenario())


def test_a_request_that_comes_too_late_is_refused() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), clock=(clock := Clock())) as batcher:
            with pytest.raises(DeadlineExceeded):
                await batcher.submit(pictures(1), clock.now)
            assert_answers(await batcher.submit(pictures(2), clock.now + 100), 2)
            assert engine.batches == [[2]]

    asyncio.run(scenario())


def test_a_deadline_is_told_while_the_engine_is_still_busy_and_gives_its_place_back() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), seen := Seen(), max_queue=2) as batcher:
            first = await submitted(batcher, 1)
            await engine.next_batch()
            with pytest.raises(DeadlineExceeded):
                await batcher.submit(pictures(2, 3), time.monotonic() + 0.01)
            assert seen.lengths[-1] == 0
            last = await submitted(batcher, 4, 5)
            engine.go_on(2)
            assert_answers(await first, 1)
            assert_answers(await last, 4, 5)
            assert engine.batches == [[1], [4, 5]]

    asyncio.run(scenario())


def test_a_deadline_that_passed_is_seen_even_if_the_loop_is_late() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), clock=(clock := Clock())) as batcher:
            first = await submitted(batcher, 1)
            await engine.next_batch()
            late = await submitted(batcher, 2, deadline=clock.now + 1000)
            in_time = await submitted(batcher, 3, deadline=clock.now + 1001)
            clock.now += 1000
            engine.go_on(2)
            with pytest.raises(DeadlineExceeded):
                await late
            assert_answers(await first, 1)
            assert_answers(await in_time, 3)
            assert engine.batches == [[1], [3]]

    asyncio.run(scenario())


def test_what_is_in_the_engine_at_its_deadline_is_answered() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), clock=(clock := Clock())) as batcher:
            task = await submitted(batcher, 1, deadline=clock.now + 1000)
            await engine.next_batch()
            clock.now += 2000
            engine.go_on()
            assert_answers(await task, 1)

    asyncio.run(scenario())


def test_a_deadline_is_watched_for_as_long_as_a_picture_waits() -> None:
    async def scenario() -> None:
        loop, line = asyncio.get_running_loop(), Line()
        runs, leaves = (Request(pictures(1, 2), 0.0, 1.0, loop.create_future()) for _ in range(2))
        alarms = [loop.call_later(HOUR_MS, line.expire, request) for request in (runs, leaves)]
        for request, alarm in zip((runs, leaves), alarms, strict=True):
            request.alarm = alarm
            line.add(request)
        line.take(1, now=0.0)
        assert [alarm.cancelled() for alarm in alarms] == [False, False]
        line.take(1, now=0.0)
        assert [alarm.cancelled() for alarm in alarms] == [True, False]
        line.drop(leaves)
        assert [alarm.cancelled() for alarm in alarms] == [True, True]

    asyncio.run(scenario())


def test_the_rest_of_a_split_request_is_dropped_at_its_deadline() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), clock=(clock := Clock()), max_batch=2) as batcher:
            split = await submitted(batcher, 1, 2, 3, 4, 5, deadline=clock.now + 1000)
            await engine.next_batch()
            other = await submitted(batcher, 6)
            clock.now += 1000
            engine.go_on(2)
            with pytest.raises(DeadlineExceeded):
                await split
            assert_answers(await other, 6)
            assert engine.batches == [[1, 2], [6]]

    asyncio.run(scenario())


def test_a_request_whose_client_left_does_not_run_and_gives_its_place_back() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_queue=3) as batcher:
            tasks = [await submitted(batcher, 1)]
            await engine.next_batch()
            tasks.append(await submitted(batcher, 2))
            gone = await submitted(batcher, 3, 4)
            gone.cancel()
            await settled()
            assert gone.cancelled()
            tasks.append(await submitted(batcher, 5, 6))
            engine.go_on(2)
            await asyncio.gather(*tasks)
            assert engine.batches == [[1], [2, 5, 6]]

    asyncio.run(scenario())


def test_a_client_that_leaves_before_anything_started_leaves_nothing_to_do() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), max_wait_ms=HOUR_MS) as batcher:
            gone = await submitted(batcher, 1)
            gone.cancel()
            await settled()
            await batcher.close(grace=0)
            assert gone.cancelled()
            assert not engine.batches

    asyncio.run(scenario())


def test_the_rest_of_a_split_request_is_dropped_when_its_client_leaves() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_batch=2) as batcher:
            split = await submitted(batcher, 1, 2, 3, 4, 5)
            await engine.next_batch()
            other = await submitted(batcher, 6)
            split.cancel()
            await settled()
            engine.go_on(2)
            assert_answers(await other, 6)
            assert engine.batches == [[1, 2], [6]]

    asyncio.run(scenario())


def test_the_rows_of_a_client_that_left_are_thrown_away_and_the_others_get_theirs() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine()) as batcher:
            tasks = [asyncio.create_task(batcher.submit(pictures(n))) for n in (1, 2, 3)]
            assert await engine.next_batch() == [1, 2, 3]
            tasks[1].cancel()
            await settled()
            engine.go_on()
            assert_answers(await tasks[0], 1)
            assert_answers(await tasks[2], 3)
            assert tasks[1].cancelled()

    asyncio.run(scenario())
