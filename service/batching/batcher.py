"""Micro-batching: pictures of many requests share the engine's batches, in the order in which they came.

All decisions are made on one asyncio loop, so nothing is locked. The engine runs in one thread of its own, and while
it is busy, what arrives is collected for its next batch. Where the engine has no processor of its own, a batch that
takes little time runs on the loop itself: the way to a thread and back, and both wanting the interpreter, cost more.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np

from service.batching.waiting import Batch, Closed, EngineFailed, Line, QueueFull, Request, RequestTooLarge
from service.engines.ran import Ran
from training.pixels import Pixels

# Of the recent pace, each batch counts this much of the one after it.
FADING = 0.9
# Seconds after which to try again, where no batch has run yet that could tell.
UNKNOWN_PACE = 1.0


@dataclass(frozen=True)
class Limits:
    """How much runs and waits at once."""

    max_batch: int = 64  # pictures in one call of the engine
    max_queue: int = 1024  # pictures that wait, not counting those in the engine
    max_wait_ms: float = 0.0  # how long an idle engine waits for more pictures than are there
    here_seconds: float = 0.0  # batches that are expected to take no longer run on the loop; 0 is none


class Observer(Protocol):
    """Is told what happens, on the loop's thread; must be quick and must not raise."""

    def queued(self, pictures: int) -> None:
        """So many pictures wait now."""

    def waited(self, seconds: float) -> None:
        """The last picture of a request went to the engine so long after the request came."""

    def ran(self, pictures: int, seconds: float) -> None:
        """The engine took so long for a batch, or to fail on it."""


class Batcher:
    """Serves the loop in which it is made, and only from there may it be used; close it before the loop ends.

    `run` is called in a thread of the batcher's own with uint8 [N, H, W, C], never twice at once. `run_here`, by
    default the same, is called on the loop, and `run` once more with what it fails on: it should only try, and not
    mend. `shape` is the (H, W, C) of every picture. `clock` gives monotonic seconds, in the loop and in the thread.
    """

    def __init__(
        self,
        run: Callable[[Pixels], Ran],
        shape: tuple[int, int, int],
        limits: Limits,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        run_here: Callable[[Pixels], Ran] | None = None,
    ) -> None:
        self._run, self._shape, self._limits, self._observer, self._clock = run, shape, limits, observer, clock
        self._run_here = run_here or run
        self._loop = asyncio.get_running_loop()
        self._line = Line()
        self._running: Batch = []  # in the engine
        self._start_handle: asyncio.Handle | None = None
        self._recent_pictures = self._recent_seconds = 0.0
        self._observed = 0  # the length of the line that the observer knows
        self._closed = False
        self._idle, self._stopped = asyncio.Event(), asyncio.Event()
        # A queue and a callback take half the time of run_in_executor for the way there and back.
        self._batches: SimpleQueue[list[Pixels] | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    async def submit(self, pictures: Pixels, deadline: float | None = None) -> Ran:
        """The outputs for uint8 pictures [n, H, W, C], row by row in their order, and who computed them.

        `deadline` is a time of the clock up to which pictures may wait; what is in the engine by then is answered.
        A cancelled submit gives up its place. Raises ValueError for no pictures or ones of another shape or type,
        Closed, RequestTooLarge where n is above `max_queue`, QueueFull where pictures that wait already leave no
        room, DeadlineExceeded, and EngineFailed where the engine raised for a batch with pictures of this request.
        """
        self._admit(pictures)
        now = self._clock()
        request = Request(pictures, now, deadline, self._loop.create_future())
        if deadline is not None:
            request.alarm = self._loop.call_later(deadline - now, self._expire, request)
        self._line.add(request)
        if self._running or self._limits.max_wait_ms:
            self._observe_queue()  # else it goes to the engine at once
        self._idle.clear()
        self._start_soon()
        try:
            return await request.future
        except asyncio.CancelledError:
            self._line.drop(request)
            self._observe_queue()
            raise
        finally:
            del request  # an error would hold itself by this frame, and with it all it came from

    def require_room(self, pictures: int) -> None:
        """Raise QueueFull where others that wait leave no room for so many; before they are decoded, for a start.

        More than may ever wait are not refused so, as trying again is of no use.
        """
        if pictures <= self._limits.max_queue < self._line.pictures + pictures:
            raise QueueFull(self._retry_after())

    async def close(self, grace: float) -> None:
        """Refuse new requests, give the others `grace` seconds, fail those that still wait then with Closed.

        Returns when the thread has ended, and therefore after the batch that it runs at the end of the grace. May be
        called again.
        """
        self._closed = True
        if not self._running:
            self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()
        self._line.drop_all(Closed, "the server stopped before the request had run")
        self._observe_queue()
        self._batches.put(None)
        await self._stopped.wait()
        self._thread.join()

    def _admit(self, pictures: Pixels) -> None:
        if self._closed:
            raise Closed("the server is stopping")
        if not len(pictures) or pictures.shape[1:] != self._shape or pictures.dtype != np.uint8:
            wanted = f"uint8 of the shape (1 or more, {', '.join(map(str, self._shape))})"
            raise ValueError(f"pictures must be {wanted}, not {pictures.dtype} of {pictures.shape}")
        if len(pictures) > self._limits.max_queue:
            raise RequestTooLarge(f"{len(pictures)} pictures are more than the {self._limits.max_queue} that may wait")
        self.require_room(len(pictures))

    def _retry_after(self) -> float:
        """See QueueFull."""
        if not self._recent_pictures:
            return UNKNOWN_PACE
        ahead = self._line.pictures + _size(self._running)
        return ahead * self._recent_seconds / self._recent_pictures

    def _observe_queue(self) -> None:
        if self._observer and self._observed != self._line.pictures:
            self._observed = self._line.pictures
            self._observer.queued(self._observed)

    def _expire(self, request: Request) -> None:
        self._line.expire(request)
        self._observe_queue()

    def _start_soon(self) -> None:
        """Start a batch now if it is full, else once everybody who is ready has submitted, or `max_wait_ms` later."""
        if self._running:
            return
        if self._line.pictures >= self._limits.max_batch:
            self._start()
        elif self._start_handle is None:
            seconds = self._limits.max_wait_ms / 1000
            soon = self._loop.call_later(seconds, self._start) if seconds else self._loop.call_soon(self._start)
            self._start_handle = soon

    def _start(self) -> None:
        """Hand the next batch to the engine, which must be free."""
        if self._start_handle is not None:
            self._start_handle.cancel()
            self._start_handle = None
        now = self._clock()
        self._running = self._line.take(self._limits.max_batch, now)
        self._observe_queue()
        if not self._running:
            self._idle.set()
            return
        if self._observer:
            for request, _ in self._running:
                if not request.left:
                    self._observer.waited(now - request.arrived)
        self._hand_over([part for _, part in self._running])

    def _hand_over(self, batch: list[Pixels]) -> None:
        """Run the batch here, or have the thread run it."""
        if self._is_quick(sum(map(len, batch))):
            started = self._clock()
            result = _result(self._run_here, batch)
            if not isinstance(result, BaseException):
                self._loop.call_soon(self._finish, result, self._clock() - started)
                return
        self._batches.put(batch)

    def _is_quick(self, pictures: int) -> bool:
        """Whether so many pictures should run on the loop, by the recent pace."""
        if not self._recent_pictures:
            return False
        return pictures * self._recent_seconds < self._limits.here_seconds * self._recent_pictures

    def _finish(self, result: Ran | BaseException, seconds: float) -> None:
        """Take back what became of the batch in the engine."""
        batch = self._running
        if self._observer:
            self._observer.ran(_size(batch), seconds)
        if isinstance(result, BaseException):
            for request, _ in batch:
                error = EngineFailed(f"the engine failed on a batch ({type(result).__name__})")
                error.__cause__ = result
                self._line.drop(request, error)
            self._start()
            return
        self._recent_pictures = FADING * self._recent_pictures + _size(batch)
        self._recent_seconds = FADING * self._recent_seconds + seconds
        quick = self._is_quick(min(self._line.pictures, self._limits.max_batch))
        if not quick:
            self._start()  # first, so that the engine works while the rows are handed out
        start = 0
        for request, part in batch:
            stop = start + len(part)
            request.receive(result.part(start, stop))
            start = stop
        if quick:
            self._running = []
            self._start_handle = self._loop.call_soon(self._start)  # last, so that nobody waits for others' batch

    def _serve(self) -> None:
        """The thread: one batch after another, until there is None."""
        while (batch := self._batches.get()) is not None:
            started = self._clock()
            self._loop.call_soon_threadsafe(self._finish, _result(self._run, batch), self._clock() - started)
            del batch  # or it would stay until there is another
        self._loop.call_soon_threadsafe(self._stopped.set)


def _result(run: Callable[[Pixels], Ran], batch: list[Pixels]) -> Ran | BaseException:
    try:
        images = batch[0] if len(batch) == 1 else np.concatenate(batch)
        ran = run(images)
        if not len(ran.outputs.logits) == len(ran.outputs.probabilities) == len(images):
            raise ValueError(f"the engine gave {len(ran.outputs.logits)} rows for {len(images)} pictures")
        return ran
    except BaseException as error:  # whatever it is, those who wait must hear of it
        return error


def _size(batch: Batch) -> int:
    return sum(len(part) for _, part in batch)
