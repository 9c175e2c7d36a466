"""The batcher: what runs together and in which order, how it closes, and what its observer is told."""

import asyncio
import threading

import numpy as np
import pytest

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.batching.waiting import Closed
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


def test_a_lone_request_is_answered_by_its_own_rows() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine()) as batcher:
            assert_answers(await batcher.submit(pictures(7, 300, 70_000)), 7, 300, 70_000)
            assert engine.batches == [[7, 300, 70_000]]

    asyncio.run(scenario())


def test_requests_that_come_at_once_share_the_first_batch() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine()) as batcher:
            answers = await asyncio.gather(*(batcher.submit(pictures(n, n + 100)) for n in (3, 1, 2)))
            for outputs, n in zip(answers, (3, 1, 2), strict=True):
                assert_answers(outputs, n, n + 100)
            assert engine.batches == [[3, 103, 1, 101, 2, 102]]

    asyncio.run(scenario())


def test_what_comes_while_the_engine_works_is_its_next_batch() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine()) as batcher:
            first = await submitted(batcher, 1)
            assert await engine.next_batch() == [1]
            others = [await submitted(batcher, n) for n in (5, 4, 9)]
            engine.go_on()
            assert await engine.next_batch() == [5, 4, 9]
            engine.go_on()
            for task, n in zip([first, *others], (1, 5, 4, 9), strict=True):
                assert_answers(await task, n)

    asyncio.run(scenario())


def test_a_large_request_is_split_joined_and_shares_its_last_batch() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), max_batch=4) as batcher:
            sizes = ((1, 2), (3, 4, 5, 6, 7, 8), (9, 10), (11,))
            answers = await asyncio.gather(*(batcher.submit(pictures(*numbers)) for numbers in sizes))
            for outputs, numbers in zip(answers, sizes, strict=True):
                assert_answers(outputs, *numbers)
            assert engine.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]

    asyncio.run(scenario())


def test_neither_pictures_nor_rows_are_copied_without_need() -> None:
    given: list[Pixels] = []
    rows: list[Outputs] = []

    def run(images: Pixels) -> Outputs:
        given.append(images)
        rows.append(answer(range(len(images))))
        return rows[-1]

    async def scenario() -> None:
        batcher = Batcher(named(run), SHAPE, Limits())
        alone = pictures(1, 2)
        await batcher.submit(alone)
        assert np.shares_memory(given[0], alone)
        for outputs, _ in await asyncio.gather(*(batcher.submit(pictures(n)) for n in (1, 2))):
            assert np.shares_memory(outputs.logits, rows[1].logits)
            assert np.shares_memory(outputs.probabilities, rows[1].probabilities)
        await batcher.close(grace=30)

    asyncio.run(scenario())


def test_the_engine_works_in_one_thread_that_is_not_the_loops() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine()) as batcher:
            for n in range(5):
                await batcher.submit(pictures(n))
            (thread,) = engine.threads
            assert thread is not threading.current_thread()

    asyncio.run(scenario())


def test_an_idle_engine_may_wait_for_a_full_batch() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), max_batch=3, max_wait_ms=HOUR_MS) as batcher:
            first = await submitted(batcher, 1)
            assert not engine.batches
            await batcher.submit(pictures(2, 3))
            await first
            assert engine.batches == [[1, 2, 3]]

    asyncio.run(scenario())


def test_an_idle_engine_does_not_wait_for_longer_than_it_may() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(), max_wait_ms=50) as batcher, asyncio.timeout(30):
            assert_answers(await batcher.submit(pictures(1)), 1)
            assert_answers(await batcher.submit(pictures(2)), 2)
            assert engine.batches == [[1], [2]]

    asyncio.run(scenario())


def test_an_engine_that_comes_free_waits_for_nobody() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_batch=2, max_wait_ms=HOUR_MS) as batcher:
            await submitted(batcher, 1, 2)
            assert await engine.next_batch() == [1, 2]
            await submitted(batcher, 3)
            engine.go_on()
            assert await engine.next_batch() == [3]

    asyncio.run(scenario())


def test_a_closing_batcher_refuses_finishes_what_waits_and_ends_its_thread() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_batch=2) as batcher:
            idle_before = await submitted(batcher, 0)
            engine.go_on()
            await idle_before
            assert await engine.next_batch() == [0]
            tasks = [await submitted(batcher, *numbers) for numbers in ((1, 2), (3, 4, 5))]
            await engine.next_batch()
            closing = asyncio.create_task(batcher.close(grace=30))
            await settled()
            with pytest.raises(Closed):
                await batcher.submit(pictures(6))
            assert not closing.done()
            engine.go_on(3)
            await closing
            assert_answers(tasks[0].result(), 1, 2)
            assert_answers(tasks[1].result(), 3, 4, 5)
            assert not any(thread.is_alive() for thread in engine.threads)

    asyncio.run(scenario())


def test_after_the_grace_what_waits_fails_and_what_is_in_the_engine_is_answered() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(), max_batch=2) as batcher:
            inside, split, waits = [await submitted(batcher, *numbers) for numbers in ((1,), (2, 3), (4,))]
            assert await engine.next_batch() == [1]
            engine.go_on()
            assert await engine.next_batch() == [2, 3]
            more = await submitted(batcher, 5)
            closing = asyncio.create_task(batcher.close(grace=0))
            for task in (waits, more):
                with pytest.raises(Closed):
                    await task
            engine.go_on()
            await closing
            assert_answers(await inside, 1)
            assert_answers(await split, 2, 3)
            assert engine.batches == [[1], [2, 3]]

    asyncio.run(scenario())


def test_closing_does_not_wait_for_a_fuller_batch() -> None:
    async def scenario() -> None:
        async with batching(NumberEngine(), max_wait_ms=HOUR_MS) as batcher:
            task = await submitted(batcher, 1)
            await batcher.close(grace=30)
            assert_answers(await task, 1)

    asyncio.run(scenario())


def test_closing_twice_one_after_the_other_or_at_once_is_closing() -> None:
    async def scenario() -> None:
        async with batching(NumberEngine()) as batcher:
            task = await submitted(batcher, 1)
            await asyncio.gather(batcher.close(grace=30), batcher.close(grace=30))
            await batcher.close(grace=0)
            assert_answers(await task, 1)

    asyncio.run(scenario())


def test_an_observer_is_told_lengths_waits_and_batches() -> None:
    clock, seen = Clock(), Seen()

    class TimedEngine(GatedEngine):
        def run(self, images: Pixels) -> Outputs:
            try:
                return super().run(images)
            finally:
                clock.now += 0.25 * len(images)

    async def scenario() -> None:
        async with batching(engine := TimedEngine(5), seen, clock, max_batch=2) as batcher:
            await submitted(batcher, 1)
            await engine.next_batch()
            assert seen.lengths == []
            split = await submitted(batcher, 2, 3, 4)
            failing = await submitted(batcher, 5)
            gone = await submitted(batcher, 6)
            gone.cancel()
            await settled()
            assert seen.lengths == [3, 4, 5, 4]
            engine.go_on(3)
            await ends_of(split, failing)
            assert seen.lengths == [3, 4, 5, 4, 2, 0]
            # The first did not wait; the others until the batches of one and of two pictures had run.
            assert seen.waits == [0, 0.75, 0.75]
            assert seen.batches == [(1, 0.25), (2, 0.5), (2, 0.5)]

    asyncio.run(scenario())
