"""What the tests of the failover share: engines that break, loaders that refuse, and pauses that the test ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from export.bundle import Outputs
from service.engines.engine import Engine
from service.engines.failover import Failover, Policy
from tests.unit.batching import NumberEngine, pictures
from training.pixels import Pixels

BAD = 13  # the number of a picture that no engine can run


class FakeEngine(NumberEngine):
    """Fails on everything while it is broken, and on BAD always."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        super().__init__(BAD)
        self.name = name
        self.device = f"device of {name}"
        self.variant = "fp32"
        self.broken = broken

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, 2, 2, 1]."""
        if self.broken:
            raise MemoryError(f"{self.name} has no memory")
        return super().run(images)


class Loader:
    """Gives what it was made of, one after the other, and raises what is an exception."""

    def __init__(self, *results: Engine | Exception) -> None:
        self.results = list(results)
        self.calls = 0

    def __call__(self) -> Engine:
        """One result."""
        self.calls += 1
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


class Pauses:
    """In place of waiting: keeps the seconds, and ends each pause when the test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.give_up = False
        self._over = threading.Semaphore(0)

    def __call__(self, seconds: float) -> bool:
        """One pause."""
        self.seconds.append(seconds)
        self._over.acquire()
        return self.give_up

    def end(self, count: int = 1) -> None:
        """Let so many pauses end, now or when they come."""
        self._over.release(count)


@contextmanager
def failing_over(
    first: Engine, fallback: Callable[[], Engine] | None, reload: Callable[[], Engine] | None = None, **options: Any
) -> Iterator[Failover]:
    """A failover whose thread, if it has one, ends with the test."""
    pauses = options.setdefault("wait", Pauses())
    failover = Failover(first, fallback, reload or Loader(), Policy(), **options)
    try:
        yield failover
    finally:
        pauses.give_up = True
        pauses.end(1000)
        failover.close(grace=30)


def brought_back(failover: Failover, pauses: Pauses, attempts: int) -> None:
    """Let so many attempts happen, the last of which succeeds, and wait for it; `close` ends no pause of this kind."""
    pauses.end(attempts)
    failover.close(grace=30)


def degrade(failover: Failover) -> None:
    """By three errors; the first engine must be broken."""
    for _ in range(3):
        assert not failover.degraded
        failover.run(pictures(0))
    assert failover.degraded
