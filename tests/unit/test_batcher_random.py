"""Any course of events: the batcher beside a model of it that is one list of pictures and knows no thread."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from service.batching.batcher import Batcher, Limits
from service.batching.waiting import DeadlineExceeded, EngineFailed, QueueFull
from service.engines.ran import Ran
from tests.unit.batching import ALWAYS, SHAPE, Clock, GatedEngine, Seen, assert_answers, numbers_in, pictures, settled
from training.pixels import Pixels

# Fake seconds, so many that no real timer of a deadline fires during the test.
AGE = 10_000.0


@dataclass(eq=False)
class Submitted:
    """What the model knows of a request, and the task that is the real one."""

    numbers: list[int]
    deadline: float | None
    task: asyncio.Task[Ran]
    ran: int = 0  # of its pictures
    engines: dict[str, None] = field(default_factory=dict)  # that ran some, in the order of first use
    error: type[BaseException] | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.error is not None or self.ran == len(self.numbers)

    def check(self) -> None:
        """The real one is as far, and got exactly its own rows."""
        assert self.task.done() == self.over
        if self.error is asyncio.CancelledError:
            assert self.task.cancelled()
        elif self.error is not None:
            assert type(self.task.exception()) is self.error
        elif self.over:
            assert_answers(self.task.result(), *self.numbers)
            assert self.task.result().engines == tuple(self.engines)


def engine_of(first: int) -> str:
    """Batches are run by one of two engines, as the number of their first picture is even or odd."""
    return ("even", "odd")[first % 2]


class Finishing(Seen):
    """Lets the test wait for the end of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.finished: asyncio.Queue[int] = asyncio.Queue()

    def ran(self, pictures: int, seconds: float) -> None:
        """Tell the test."""
        super().ran(pictures, seconds)
        self.finished.put_nowait(pictures)


class CourseOfEvents(RuleBasedStateMachine):
    """Clients come and go, time passes, batches end well or badly: in any order."""

    @initialize(max_batch=st.integers(1, 4), max_queue=st.integers(1, 12))
    def begin(self, max_batch: int, max_queue: int) -> None:
        """Make the batcher and the empty model."""
        self.max_batch, self.max_queue = max_batch, max_queue
        self.requests: list[Submitted] = []
        self.waiting: list[tuple[Submitted, int]] = []  # pictures and whose they are
        self.inside: list[tuple[Submitted, int]] = []  # those in the engine
        self.started = False
        self.count = 0
        self.clock, self.seen = Clock(), Finishing()
        self.runner = asyncio.Runner()
        self.runner.run(self.make())

    async def make(self) -> None:
        """The real ones, in their loop."""
        self.engine = GatedEngine()
        limits = Limits(self.max_batch, self.max_queue)

        def run(images: Pixels) -> Ran:
            return Ran(self.engine.run(images), (engine_of(numbers_in(images)[0]),))

        self.batcher = Batcher(run, SHAPE, limits, self.seen, self.clock)

    @rule(requests=st.lists(st.tuples(st.integers(1, 8), st.none() | st.integers(1, 3)), min_size=1, max_size=4))
    def submit(self, requests: list[tuple[int, int | None]]) -> None:
        """Clients come at once, each with some pictures and perhaps a deadline."""

        async def act() -> None:
            for size, ages in requests:
                self.submit_one(min(size, self.max_queue), None if ages is None else self.clock.now + ages * AGE)
            self.start()
            await self.compare()

        self.runner.run(act())

    def submit_one(self, size: int, deadline: float | None) -> None:
        """Numbers grow from request to request, so a request's numbers are nobody else's."""
        numbers = list(range(self.count, self.count + size))
        self.count += size
        task = asyncio.create_task(self.batcher.submit(pictures(*numbers), deadline))
        request = Submitted(numbers, deadline, task)
        self.requests.append(request)
        if len(self.waiting) + size > self.max_queue:
            request.error = QueueFull
            return
        self.waiting += [(request, number) for number in numbers]
        if len(self.waiting) >= self.max_batch:
            self.start()

    @precondition(lambda self: any(not request.over for request in self.requests))
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        """A client leaves."""

        async def act() -> None:
            pending = [request for request in self.requests if not request.over]
            request = pending[which % len(pending)]
            request.task.cancel()
            self.end(request, asyncio.CancelledError)
            await self.compare()

        self.runner.run(act())

    @rule(ages=st.integers(1, 2))
    def pass_time(self, ages: int) -> None:
        """Deadlines pass, which the batcher may notice when it takes the next batch."""
        self.clock.now += ages * AGE

    @precondition(lambda self: self.inside)
    @rule(fails=st.booleans())
    def finish_batch(self, fails: bool) -> None:
        """The engine comes to the end of its batch."""
        self.runner.run(self.finish(fails))

    async def finish(self, fails: bool) -> None:
        """In the model and in earnest."""
        if fails:
            self.engine.poison.add(self.inside[-1][1])
        self.engine.go_on()
        async with asyncio.timeout(30):
            assert await self.seen.finished.get() == len(self.inside)
        for request, _ in self.inside:
            request.ran += 1
            request.engines[engine_of(self.inside[0][1])] = None
            if fails:
                self.end(request, EngineFailed)
        self.inside = []
        self.start()
        await self.compare()

    def end(self, request: Submitted, error: type[BaseException]) -> None:
        """A request ends and nothing of it waits, unless it was over already."""
        if request.error is None:
            request.error = error
        self.waiting = [(owner, number) for owner, number in self.waiting if owner is not request]

    def start(self) -> None:
        """An engine that is free takes from the front; who is late there goes without."""
        if self.inside:
            return
        while self.waiting and len(self.inside) < self.max_batch:
            request, _ = self.waiting[0]
            if request.deadline is not None and request.deadline <= self.clock.now:
                self.end(request, DeadlineExceeded)
            else:
                self.inside.append(self.waiting.pop(0))
        self.started = bool(self.inside)

    async def compare(self) -> None:
        """What came into the engine, what waits, and how far each request is."""
        if self.started:
            assert await self.engine.next_batch() == [number for _, number in self.inside]
            self.started = False
        await settled()
        assert (self.seen.lengths or [0])[-1] == len(self.waiting)
        for request in self.requests:
            request.check()

    def teardown(self) -> None:
        """Let all of it end, and look at the whole."""
        if hasattr(self, "batcher"):
            try:
                self.runner.run(self.finish_all())
            finally:
                self.runner.close()

    async def finish_all(self) -> None:
        """Whatever happened, the batches were small, the queue short, and pictures ran once and in their order."""
        try:
            while self.inside:
                await self.finish(fails=False)
        finally:
            self.engine.go_on(ALWAYS)
            await self.batcher.close(grace=30)
        assert all(request.over for request in self.requests)
        ran = [number for batch in self.engine.batches for number in batch]
        assert ran == sorted(set(ran))
        assert max(map(len, self.engine.batches), default=0) <= self.max_batch
        assert max(self.seen.lengths, default=0) <= self.max_queue


TestCourseOfEvents = CourseOfEvents.TestCase
# A busy machine is no failure.
TestCourseOfEvents.settings = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100, stateful_step_count=30
)
