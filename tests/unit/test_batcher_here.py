"""Short batches run on the loop itself; what is long, unknown or fails goes to the thread."""

import asyncio
import threading

import pytest

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.batching.waiting import EngineFailed
from tests.unit.batching import SHAPE, Clock, NumberEngine, assert_answers, named, pictures
from training.pixels import Pixels

PER_PICTURE = 0.25  # seconds, which are exact in binary


class PacedEngine(NumberEngine):
    """Takes a quarter of a second of the clock for each picture, and remembers where each batch ran."""

    def __init__(self, clock: Clock, *poison: int) -> None:
        super().__init__(*poison)
        self.clock = clock
        self.on_loop: list[bool] = []

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, 2, 2, 1]."""
        self.clock.now += PER_PICTURE * len(images)
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        return super().run(images)


def paced(engine: PacedEngine, seconds: float, mending: PacedEngine | None = None) -> Batcher:
    """A batcher that runs batches on the loop which take no longer than so many seconds."""
    limits = Limits(max_batch=4, here_seconds=seconds)
    run, run_here = named((mending or engine).run, "thread"), named(engine.run, "loop")
    return Batcher(run, SHAPE, limits, clock=engine.clock, run_here=run_here)


async def one_by_one(batcher: Batcher, *sizes: int) -> list[tuple[str, ...]]:
    """Requests of so many pictures, each after the answer to the one before it; returns who ran each."""
    answers = [await batcher.submit(pictures(*range(size))) for size in sizes]
    for size, ran in zip(sizes, answers, strict=True):
        assert_answers(ran, *range(size))
    await batcher.close(1)
    return [ran.engines for ran in answers]


@pytest.mark.parametrize(
    ("seconds", "on_loop"),
    [(0.0, [False, False, False, False]), (0.375, [False, True, False, True]), (0.75, [False, True, True, True])],
)
def test_a_batch_runs_on_the_loop_where_the_pace_so_far_says_that_it_is_short(
    seconds: float, on_loop: list[bool]
) -> None:
    async def scenario() -> None:
        engine = PacedEngine(Clock())
        await one_by_one(paced(engine, seconds), 1, 1, 2, 1)
        assert engine.on_loop == on_loop

    asyncio.run(scenario())


def test_requests_that_come_while_the_loop_is_busy_share_the_next_batch_in_their_order() -> None:
    async def scenario() -> None:
        engine = PacedEngine(Clock())
        batcher = paced(engine, 10.0)
        assert_answers(await batcher.submit(pictures(9)), 9)
        answers = await asyncio.gather(*(batcher.submit(pictures(n)) for n in range(6)))
        for n, outputs in enumerate(answers):
            assert_answers(outputs, n)
        await batcher.close(1)
        assert engine.batches == [[9], [0, 1, 2, 3], [4, 5]]
        assert engine.on_loop == [False, True, True]

    asyncio.run(scenario())


def test_what_fails_on_the_loop_is_run_once_more_in_the_thread_by_what_can_mend_it() -> None:
    async def scenario() -> None:
        clock = Clock()
        here, mending = PacedEngine(clock, 3), PacedEngine(clock)
        ran = await one_by_one(paced(here, 10.0, mending), 1, 1, 4, 1)
        assert ran == [("thread",), ("loop",), ("thread",), ("loop",)]
        assert (here.batches, here.on_loop) == ([[0], [0, 1, 2, 3], [0]], [True, True, True])
        assert (mending.batches, mending.on_loop) == ([[0], [0, 1, 2, 3]], [False, False])

    asyncio.run(scenario())


def test_what_fails_there_too_fails_its_own_requests_alone() -> None:
    async def scenario() -> None:
        engine = PacedEngine(Clock(), 3)
        batcher = paced(engine, 10.0)
        assert_answers(await batcher.submit(pictures(9)), 9)
        with pytest.raises(EngineFailed):
            await batcher.submit(pictures(3))
        assert_answers(await batcher.submit(pictures(8)), 8)
        await batcher.close(1)
        assert engine.on_loop == [False, True, False, True]

    asyncio.run(scenario())


def test_closing_lets_what_waits_run_on_the_loop() -> None:
    async def scenario() -> None:
        engine = PacedEngine(Clock())
        batcher = paced(engine, 10.0)
        assert_answers(await batcher.submit(pictures(9)), 9)
        tasks = [asyncio.create_task(batcher.submit(pictures(n))) for n in range(9)]
        await asyncio.sleep(0)
        await batcher.close(30)
        for n, task in enumerate(tasks):
            assert_answers(await task, n)

    asyncio.run(scenario())
