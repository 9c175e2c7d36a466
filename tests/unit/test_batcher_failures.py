"""What an engine that fails on a batch does to the requests in it, and what it does not do to others."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.batching.waiting import EngineFailed
from tests.unit.batching import (
    SHAPE,
    GatedEngine,
    NumberEngine,
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


def test_a_failure_reaches_the_requests_of_its_batch_and_no_others() -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(3), max_batch=2) as batcher:
            answers = await ends_of(*(batcher.submit(pictures(n)) for n in (1, 2, 3, 4, 5)))
            for outputs, n in zip([*answers[:2], answers[4]], (1, 2, 5), strict=True):
                assert_answers(outputs, n)
            for error in answers[2:4]:
                assert isinstance(error, EngineFailed)
                assert error.__cause__ is engine.error
            assert answers[2] is not answers[3]  # a traceback each
            assert engine.batches == [[1, 2], [3, 4], [5]]

    asyncio.run(scenario())


@pytest.mark.parametrize("poison", [1, 3])
def test_a_split_request_fails_once_and_its_rest_does_not_run(poison: int) -> None:
    async def scenario() -> None:
        async with batching(engine := NumberEngine(poison), max_batch=2) as batcher:
            split, other = await ends_of(batcher.submit(pictures(*range(7))), batcher.submit(pictures(8)))
            assert isinstance(split, EngineFailed)
            assert_answers(other, 8)
            assert engine.batches == [*[[0, 1], [2, 3]][: 1 + poison // 2], [8]]

    asyncio.run(scenario())


def test_a_failure_does_nothing_to_a_split_request_whose_client_left() -> None:
    async def scenario() -> None:
        async with batching(engine := GatedEngine(1), max_batch=2) as batcher:
            split = await submitted(batcher, 1, 2, 3)
            await engine.next_batch()
            other = await submitted(batcher, 4)
            split.cancel()
            await settled()
            engine.go_on(2)
            assert_answers(await other, 4)
            assert split.cancelled()
            assert engine.batches == [[1, 2], [4]]

    asyncio.run(scenario())


def test_the_message_of_a_failure_does_not_repeat_what_the_engine_said() -> None:
    async def scenario() -> None:
        async with batching(NumberEngine(1, error=RuntimeError("at /secret/path"))) as batcher:
            with pytest.raises(EngineFailed, match=r"^the engine failed on a batch \(RuntimeError\)$"):
                await batcher.submit(pictures(1))

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), MemoryError()])
def test_nothing_that_an_engine_raises_ends_its_thread(error: BaseException) -> None:
    async def scenario() -> None:
        async with batching(NumberEngine(1, error=error)) as batcher:
            with pytest.raises(EngineFailed):
                await batcher.submit(pictures(1))
            assert_answers(await batcher.submit(pictures(2)), 2)

    asyncio.run(scenario())


@pytest.mark.parametrize("outputs", [answer([1]), Outputs(answer([1, 2]).logits, answer([1]).probabilities), None])
def test_an_engine_that_gives_other_than_one_row_for_each_picture_failed(outputs: Any) -> None:
    async def scenario() -> None:
        batcher = Batcher(named(lambda _: outputs), SHAPE, Limits())
        with pytest.raises(EngineFailed):
            await batcher.submit(pictures(1, 2))
        await batcher.close(grace=30)

    asyncio.run(scenario())


def test_a_failure_keeps_no_picture_in_memory() -> None:
    def run(images: Pixels) -> Outputs:
        raise RuntimeError(f"no room for {len(images)}")

    async def scenario() -> None:
        batcher = Batcher(named(run), SHAPE, Limits())
        images = pictures(1).copy()  # owns its memory, so that every view of it keeps it
        alive = weakref.ref(images)
        with pytest.raises(EngineFailed):
            await batcher.submit(images)
        del images
        async with asyncio.timeout(30):
            while alive() is not None:  # the thread lets go of it in its own time
                await settled()
        await batcher.close(grace=30)

    gc.disable()
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()
