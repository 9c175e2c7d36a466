"""What the tests of the batcher share: pictures that carry numbers, engines that read them, and a clock to set."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits, Observer
from service.engines.ran import Ran
from training.pixels import Pixels

SHAPE = (2, 2, 1)
# More batches than any test runs.
ALWAYS = 10_000
# Longer than any test takes.
HOUR_MS = 3_600_000


def pictures(*numbers: int) -> Pixels:
    """One picture [2, 2, 1] for each number, which is the four bytes of its pixels."""
    return np.array(numbers, "<u4").view(np.uint8).reshape(-1, *SHAPE)


def numbers_in(images: Pixels) -> list[int]:
    """The number in each picture."""
    return [int.from_bytes(image.tobytes(), "little") for image in images]


def answer(numbers: Sequence[int]) -> Outputs:
    """The logit of a picture is its number, its probability that and a half: exact in float32 below two million."""
    logits = np.array(numbers, np.float32).reshape(-1, 1)
    return Outputs(logits, logits + np.float32(0.5))


def assert_answers(ran: Ran, *numbers: int) -> None:
    """These rows and no others, in this order."""
    expected = answer(numbers)
    np.testing.assert_array_equal(ran.outputs.logits, expected.logits, strict=True)
    np.testing.assert_array_equal(ran.outputs.probabilities, expected.probabilities, strict=True)


def named(run: Callable[[Pixels], Outputs], name: str = "numbers") -> Callable[[Pixels], Ran]:
    """As a batcher wants it: the same, and the name of the engine."""
    return lambda images: Ran(run(images), (name,))


class NumberEngine:
    """Answers every picture by its number; raises `error` on a batch that holds a number of `poison`."""

    def __init__(self, *poison: int, error: BaseException | None = None) -> None:
        self.poison = set(poison)
        self.error = error or RuntimeError("poisoned")
        self.batches: list[list[int]] = []
        self.threads: set[threading.Thread] = set()

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, 2, 2, 1]."""
        numbers = numbers_in(images)
        self.batches.append(numbers)
        self.threads.add(threading.current_thread())
        if self.poison.intersection(numbers):
            raise self.error
        return answer(numbers)


class GatedEngine(NumberEngine):
    """Holds every batch until the test lets it go on. To be made in the test's loop."""

    def __init__(self, *poison: int, error: BaseException | None = None) -> None:
        super().__init__(*poison, error=error)
        self._loop = asyncio.get_running_loop()
        self._entered: asyncio.Queue[list[int]] = asyncio.Queue()
        self._gate = threading.Semaphore(0)
        self._working = threading.Lock()

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, 2, 2, 1]; a call during another fails."""
        assert self._working.acquire(blocking=False), "called while it works"
        try:
            self._loop.call_soon_threadsafe(self._entered.put_nowait, numbers_in(images))
            self._gate.acquire()
            return super().run(images)
        finally:
            self._working.release()

    async def next_batch(self) -> list[int]:
        """The numbers of the next batch that comes in."""
        async with asyncio.timeout(30):  # so that a batch which never comes fails the test soon
            return await self._entered.get()

    def go_on(self, batches: int = 1) -> None:
        """Let so many batches pass: the one that is held and those after it."""
        self._gate.release(batches)


@dataclass
class Seen:
    """An observer that keeps what it is told."""

    lengths: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    batches: list[tuple[int, float]] = field(default_factory=list)

    def queued(self, pictures: int) -> None:
        """Keep it."""
        self.lengths.append(pictures)

    def waited(self, seconds: float) -> None:
        """Keep it."""
        self.waits.append(seconds)

    def ran(self, pictures: int, seconds: float) -> None:
        """Keep it."""
        self.batches.append((pictures, seconds))


@dataclass
class Clock:
    """A clock that stands still between settings."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


@asynccontextmanager
async def batching(
    engine: NumberEngine, observer: Observer | None = None, clock: Clock | None = None, **limits: float
) -> AsyncIterator[Batcher]:
    """A batcher of that engine, closed at the end whatever became of the test."""
    options = {} if clock is None else {"clock": clock}
    batcher = Batcher(named(engine.run), SHAPE, Limits(**limits), observer, **options)  # type: ignore[arg-type]
    try:
        yield batcher
    finally:
        if isinstance(engine, GatedEngine):
            engine.go_on(ALWAYS)
        await batcher.close(grace=30)


async def submitted(batcher: Batcher, *numbers: int, deadline: float | None = None) -> asyncio.Task[Ran]:
    """A submit that has got as far as it gets by itself."""
    task = asyncio.create_task(batcher.submit(pictures(*numbers), deadline))
    await settled()
    return task


async def ends_of(*submits: Awaitable[Ran]) -> list[Any]:
    """What each gives or raises."""
    return await asyncio.gather(*submits, return_exceptions=True)


async def settled() -> None:
    """Let everything that is ready on the loop run."""
    for _ in range(5):
        await asyncio.sleep(0)
