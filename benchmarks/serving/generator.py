"""The load generator, a process of its own that knows nothing of models: a task as JSON in, what came back as JSON out.

Closed loop: so many clients, each with one request at a time. Open loop: requests arrive at a rate, whatever becomes
of the others; their time counts from when they were due. Requests of the warm-up are answered and checked as all are,
but count neither for times nor for throughput.
"""

import asyncio
import base64
import itertools
import json
import random
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

from benchmarks.serving.answers import Checker
from benchmarks.serving.connection import Connection

# After a refusal a client comes again, but not at once: it would only keep the server busy with refusals.
PAUSE = 0.05
# A machine's own limit of open files is near, and no server here could answer so many within seconds.
MOST_CONNECTIONS = 2048
# Of requests that are still under way at the end.
PATIENCE = 10.0
# Seconds for which an open loop sleeps at least: uvloop's timers count whole milliseconds, and less than half of one is
# none at all, so that waiting for the next request would take a whole core.
TICK = 0.001
# Between the first requests of two clients, so that every worker takes its share of the connections.
STAGGER = 0.002


@dataclass(frozen=True)
class Task:
    """What to do; `clients` for a closed loop or `rate`, requests a second, for an open one."""

    port: int
    requests: list[bytes]  # whole, with their heads
    expected: list[list[list[float]]]
    warm_up: float
    seconds: float
    clients: int = 0
    rate: float = 0.0

    @staticmethod
    def read(text: str) -> "Task":
        """A task from its JSON."""
        document = json.loads(text)
        return Task(**{**document, "requests": [base64.b64decode(one) for one in document["requests"]]})

    def written(self) -> str:
        """The task as JSON."""
        return json.dumps({**vars(self), "requests": [base64.b64encode(one).decode() for one in self.requests]})


@dataclass
class Tally:
    """What came back; times are of the monotonic clock, as uvloop's own counts whole milliseconds."""

    begin: float
    end: float
    latencies: list[float] = field(default_factory=list)  # seconds, of right answers to what began in the window
    in_time: int = 0  # pictures of right answers that came in the window
    in_all: int = 0  # pictures of right answers, ever
    sent: int = 0  # requests that began in the window
    errors: Counter[str] = field(default_factory=Counter)  # of those
    told_when: int = 0  # refusals of those with Retry-After

    def add(self, began: float, ended: float, pictures: int, error: str | None, told: bool = False) -> None:
        """One request is over."""
        counts = self.begin <= began < self.end
        self.sent += counts
        if error is not None:
            self.errors[error] += counts
            self.told_when += counts and told
            return
        self.in_all += pictures
        if counts:
            self.latencies.append(ended - began)
        if self.begin <= ended < self.end:
            self.in_time += pictures


class Run:
    """One task in a running loop."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._checker = Checker(task.expected)
        begin = time.monotonic() + task.warm_up
        self.tally = Tally(begin, begin + task.seconds)
        # The one that has rested longest is next: else most would go to the worker that is quickest, say, to refuse.
        self._free: deque[Connection] = deque()
        self._connections: list[Connection] = []
        self._numbers = itertools.count()

    async def closed(self) -> None:
        """As many clients as the task says, until the end of the window."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._task.clients):
                group.create_task(self._client(number))
                await asyncio.sleep(STAGGER)

    async def open(self) -> None:
        """Requests at random times, as many as the rate says on average, until the end of the window."""
        gaps, due = random.Random(0), time.monotonic()  # noqa: S311 - the same times for every server
        async with asyncio.TaskGroup() as group:
            while due < self.tally.end:
                while due <= time.monotonic():
                    group.create_task(self._arrival(due))
                    due += gaps.expovariate(self._task.rate)
                await asyncio.sleep(max(due - time.monotonic(), TICK))
        for connection in self._connections:
            connection.close()

    def give_up(self) -> None:
        """Fail all that is still under way."""
        for connection in self._connections:
            connection.give_up()

    async def _client(self, number: int) -> None:
        connection = self._new_connection()
        while (began := time.monotonic()) < self.tally.end:
            if not await self._ask(connection, began, number):
                await asyncio.sleep(PAUSE)
            number += 1
        connection.close()

    async def _arrival(self, due: float) -> None:
        if not self._free and len(self._connections) == MOST_CONNECTIONS:
            self.tally.add(due, due, 0, "no connection free")
            return
        connection = self._free.popleft() if self._free else self._new_connection()
        await self._ask(connection, due, next(self._numbers))
        self._free.append(connection)

    def _new_connection(self) -> Connection:
        connection = Connection(self._task.port)
        self._connections.append(connection)
        return connection

    async def _ask(self, connection: Connection, began: float, number: int) -> bool:
        """One request to its end, and whether it got its answer."""
        number %= len(self._task.requests)
        error, told, pictures = None, False, len(self._task.expected[number])
        try:
            if not connection.is_open:
                async with asyncio.timeout(self.tally.end + PATIENCE - time.monotonic()):
                    await connection.open()
            answer = await connection.ask(self._task.requests[number])
        except TimeoutError:
            connection.close()
            error = "late"
        except (OSError, ValueError) as failure:
            error = type(failure).__name__
        else:
            if answer.status != 200:
                error, told = str(answer.status), answer.retry_after
            elif not self._checker.is_right(number, answer.body):
                error = "wrong"
        self.tally.add(began, time.monotonic(), pictures, error, told)
        return error is None


async def carry_out(task: Task) -> dict[str, Any]:
    """Do it; returns what is told of it."""
    run = Run(task)
    cpu: list[float] = []
    for seconds in (task.warm_up, task.warm_up + task.seconds):
        asyncio.get_running_loop().call_later(seconds, _note, cpu)
    asyncio.get_running_loop().call_later(task.warm_up + task.seconds + PATIENCE, run.give_up)
    await (run.closed() if task.clients else run.open())
    return report(run.tally, cpu[1] - cpu[0])


def _note(cpu: list[float]) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu.append(used.ru_utime + used.ru_stime)


def report(tally: Tally, cpu_seconds: float) -> dict[str, Any]:
    """Rates a second, times in milliseconds; percentiles are None where nothing was answered."""
    seconds = tally.end - tally.begin
    latencies = sorted(tally.latencies)
    return {
        "requests": tally.sent,
        "images_per_second": tally.in_time / seconds,
        **{f"p{percent}_ms": percentile(latencies, percent) for percent in (50, 95, 99)},
        "errors": dict(tally.errors),
        "told_when": tally.told_when,
        "pictures_in_all": tally.in_all,
        "generator_cpu": cpu_seconds / seconds,
    }


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """What so many percent of the ordered seconds do not exceed, in milliseconds; None where there are none."""
    return 1000 * ordered[-(-len(ordered) * percent // 100) - 1] if ordered else None


def main() -> None:
    """Read, do, tell."""
    print(json.dumps(uvloop.run(carry_out(Task.read(sys.stdin.read())))))


if __name__ == "__main__":
    main()
