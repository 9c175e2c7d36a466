"""How a worker stops: what has begun goes on for a while, and what is left then is refused."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from service.batching.waiting import Closed


class Grace:
    """The requests that are being answered, and the end of their time. For the loop's thread alone."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._over = False

    @contextmanager
    def request(self) -> Iterator[None]:
        """Where the running task answers a request. Raises Closed where its time ends before it does."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._over:
                raise
            task.uncancel()
            raise Closed("the server stops, and had no more time for this request") from None
        finally:
            self._tasks.discard(task)

    def end(self) -> None:
        """End every request that is being answered."""
        self._over = True
        for task in self._tasks:
            task.cancel()


def after_signal(seconds: float, act: Callable[[], None]) -> None:
    """Let `act` run in this loop so many seconds after SIGTERM or SIGINT, which do what they did before as well.

    To be called in the main thread.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        _also(number, lambda: loop.call_soon_threadsafe(loop.call_later, seconds, act))


def _also(number: signal.Signals, act: Callable[[], object]) -> None:
    before = signal.getsignal(number)

    def handle(given: int, frame: FrameType | None) -> None:
        act()
        if callable(before):
            before(given, frame)

    signal.signal(number, handle)
