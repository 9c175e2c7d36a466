"""The line of requests that wait for the engine: first come, first served, and each may end before its turn.

Nothing here is locked: one thread, the loop's, does all of it.
"""

import asyncio
from collections import deque
from typing import TypeAlias

from service.engines.ran import Ran, joined
from training.pixels import Pixels


class QueueFull(Exception):
    """Too many pictures wait.

    `retry_after` is in how many seconds all that wait and run now will be done: their number, times the seconds that
    a picture took in the recent batches; one second where no batch has run yet.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many pictures wait for the engine; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class RequestTooLarge(Exception):
    """The request has more pictures than may ever wait, so that trying again is of no use."""


class DeadlineExceeded(Exception):
    """The deadline passed while pictures of the request waited."""


class EngineFailed(Exception):
    """The engine failed on a batch with pictures of the request; `__cause__` is what it raised."""


class Closed(Exception):
    """The batcher takes no more requests, or was closed before this one had run."""


class Request:
    """Pictures that came together, how many of them have not run yet, and the future that waits for their rows."""

    __slots__ = ("_missing", "_parts", "alarm", "arrived", "deadline", "future", "pictures", "taken")

    def __init__(self, pictures: Pixels, arrived: float, deadline: float | None, future: asyncio.Future[Ran]):
        self.pictures = pictures
        self.arrived = arrived
        self.deadline = deadline
        self.future = future
        self.taken = 0  # pictures that went to the engine, or never will
        self._missing = len(pictures)  # rows that have not come back
        self._parts: list[Ran] = []
        self.alarm: asyncio.TimerHandle | None = None  # of the deadline, while something waits

    @property
    def left(self) -> int:
        """Pictures that wait."""
        return len(self.pictures) - self.taken

    def leave(self) -> None:
        """Nothing of it waits any more."""
        self.taken = len(self.pictures)
        if self.alarm is not None:
            self.alarm.cancel()

    def receive(self, part: Ran) -> None:
        """Take the rows of its next pictures; the last ones answer it, unless it is over already."""
        self._parts.append(part)
        self._missing -= len(part.outputs.logits)
        if not self._missing and not self.future.done():
            self.future.set_result(joined(self._parts))


# What goes to the engine together: requests, in their order, and some pictures [n, H, W, C] of each.
Batch: TypeAlias = list[tuple[Request, Pixels]]


class Line:
    """Requests in the order in which they came. Only the first may have pictures that were taken already."""

    def __init__(self) -> None:
        self.pictures = 0  # of all requests together
        self._requests: deque[Request] = deque()

    def add(self, request: Request) -> None:
        """Join at the end."""
        self._requests.append(request)
        self.pictures += request.left

    def drop(self, request: Request, error: Exception | None = None) -> None:
        """Take out what waits of the request, if anything does; `error` goes to whoever waits for its rows."""
        if request.left:
            self._requests.remove(request)
            self.pictures -= request.left
        request.leave()
        if error is not None and not request.future.done():
            request.future.set_exception(error)

    def drop_all(self, error: type[Exception], reason: str) -> None:
        """Take out every request; each gets an error of its own."""
        while self._requests:
            self.drop(self._requests[0], error(reason))

    def take(self, room: int, now: float) -> Batch:
        """Up to `room` pictures from the front; a request whose deadline is not after `now` is dropped instead."""
        batch: Batch = []
        while self._requests and room:
            request = self._requests[0]
            if request.deadline is not None and request.deadline <= now:
                self.expire(request)
                continue
            part = request.pictures[request.taken : request.taken + room]
            batch.append((request, part))
            request.taken += len(part)
            room -= len(part)
            self.pictures -= len(part)
            if not request.left:
                self._requests.popleft()
                request.leave()
        return batch

    def expire(self, request: Request) -> None:
        """Drop a request because of its deadline."""
        self.drop(request, DeadlineExceeded("the deadline passed before the engine was free"))
