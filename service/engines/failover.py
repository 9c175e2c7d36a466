"""What answers when the engine fails at run time: a second one, at once, until the first is back.

A batch that fails is run again on the fallback. An engine that does so again and again is let go, the fallback takes
over, and a thread tries to load the first one anew.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event, Thread
from typing import Protocol

from service.engines.engine import Engine, EngineError
from service.engines.ran import Ran
from training.pixels import Pixels

logger = logging.getLogger("alexnet")


class EnginesFailed(Exception):
    """Both engines failed on a batch; `reasons` has by its name what each of them said last."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
        self.reasons = reasons


@dataclass(frozen=True)
class Policy:
    """When the fallback takes over, and how often the first engine is tried after that."""

    errors: int = 3  # of the first engine, on batches that the fallback then ran
    within_seconds: float = 60.0
    first_pause_seconds: float = 1.0  # before the first attempt to load it again; each next pause is twice as long
    longest_pause_seconds: float = 60.0

    def pauses(self) -> Iterator[float]:
        """Seconds before each attempt, without end."""
        pause = self.first_pause_seconds
        while True:
            pause = min(pause, self.longest_pause_seconds)
            yield pause
            pause *= 2


class Observer(Protocol):
    """Is told what happens, on whichever thread; must be quick and must not raise."""

    def failed(self, engine: str) -> None:
        """An engine failed on a batch."""

    def serves(self, engine: str, degraded: bool) -> None:
        """This engine serves from now on; `degraded` where it stands in for the first one."""


class Failover:
    """An engine made of two. `run`, `attempt` and `close` are for one thread at a time; the rest may be read from any.

    An error counts against the first engine only if the fallback then ran the same batch: what fails on both is the
    batch's fault. Whoever makes this keeps no reference to `first`, so that its memory is free before `reload`.

    Nothing is locked: `run` lets the first engine go and starts the thread, and the thread brings it back and ends.
    Each is one assignment of `_first`, which readers see before or after, and the fallback stays once it is loaded.
    """

    def __init__(
        self,
        first: Engine,
        load_fallback: Callable[[], Engine] | None,
        reload: Callable[[], Engine],
        policy: Policy,
        *,
        warm: bool = False,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`load_fallback` gives the second engine or raises EngineError; called when it is needed, or now if `warm`.

        `reload` loads and checks the first engine; called in the thread, which counts anything it raises as a failed
        attempt. `clock` gives monotonic seconds. `wait` lets seconds pass and says whether to give up.
        """
        self._first: Engine | None = first
        self._first_name = first.name
        self._fallback: Engine | None = None
        self._load_fallback, self._reload, self._policy, self._clock = load_fallback, reload, policy, clock
        self._observer = observer
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._recovery: Thread | None = None
        self._errors: deque[float] = deque()  # when the first engine failed, as far as the policy remembers
        self._failures = {first.name: 0}
        self._reasons: dict[str, str] = {}
        self._last_failed: str | None = None
        self._unloadable = ""
        self._tell(first.name, degraded=False)
        if warm:
            self._has_fallback()

    @property
    def name(self) -> str:
        """Of the engine that serves now."""
        return self._serving().name

    @property
    def device(self) -> str:
        """Of the engine that serves now."""
        return self._serving().device

    @property
    def variant(self) -> str:
        """Of the graph that the engine that serves now runs."""
        return self._serving().variant

    @property
    def degraded(self) -> bool:
        """Whether the fallback has taken over."""
        return self._first is None

    @property
    def failures(self) -> Mapping[str, int]:
        """How many batches each engine failed on since the start."""
        return dict(self._failures)

    @property
    def last_reason(self) -> str | None:
        """Which engine failed last and why, or None; kept when the first engine is back."""
        name = self._last_failed
        return None if name is None else f"{name}: {self._reasons[name]}"

    def run(self, images: Pixels) -> Ran:
        """Classify uint8 images [N, H, W, C], on the fallback where the first engine fails or is gone.

        Raises EnginesFailed where both fail, and what the first engine raised where there is no fallback.
        """
        first = self._first
        if first is None:
            return self._run_fallback(images)
        try:
            return _ran(first, images)
        except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
            self._note(first.name, error)
            if not self._has_fallback():
                raise
        ran = self._run_fallback(images)
        del first  # or the thread that may start now would not find its memory free
        self._count_error()
        return ran

    def attempt(self, images: Pixels) -> Ran:
        """Classify on the engine that serves now alone; what it raises is neither counted nor mended."""
        return _ran(self._serving(), images)

    def close(self, grace: float) -> None:
        """Try no longer to bring the first engine back; wait up to `grace` seconds for an attempt under way."""
        self._closed.set()
        if self._recovery is not None:
            self._recovery.join(grace)

    def _serving(self) -> Engine:
        engine = self._first or self._fallback
        assert engine is not None, "the first engine is let go only for a fallback that is loaded"
        return engine

    def _run_fallback(self, images: Pixels) -> Ran:
        assert self._fallback is not None
        try:
            return _ran(self._fallback, images)
        except Exception as error:
            self._note(self._fallback.name, error)
            raise EnginesFailed(dict(self._reasons)) from error

    def _note(self, name: str, error: Exception) -> None:
        """Keep the reason as text: the error itself would hold the engine, and its memory, by the traceback."""
        self._failures[name] = self._failures.get(name, 0) + 1
        self._reasons[name] = f"{type(error).__name__}: {error}"
        self._last_failed = name
        if self._observer:
            self._observer.failed(name)

    def _tell(self, name: str, *, degraded: bool) -> None:
        if self._observer:
            self._observer.serves(name, degraded)

    def _has_fallback(self) -> bool:
        """Whether there is a second engine, which is loaded if that has not been done or has failed."""
        if self._fallback is None and self._load_fallback is not None:
            try:
                self._fallback = self._load_fallback()
            except EngineError as error:
                if str(error) != self._unloadable:
                    logger.warning("no engine can stand in for %s: %s", self._first_name, error)
                self._unloadable = str(error)
            else:
                logger.info("engine %s is loaded, to stand in for %s", self._fallback.name, self._first_name)
        return self._fallback is not None

    def _count_error(self) -> None:
        """The first engine failed on a batch that was not at fault; the last such error allowed lets it go."""
        now = self._clock()
        self._errors.append(now)
        while self._errors[0] < now - self._policy.within_seconds:
            self._errors.popleft()
        if len(self._errors) >= self._policy.errors:
            self._degrade()
        elif len(self._errors) == 1:
            logger.warning(
                "engine %s failed on a batch and its fallback ran it (%s)", self._first_name, self.last_reason
            )

    def _degrade(self) -> None:
        logger.warning("engine %s failed too often (%s); its fallback takes over", self._first_name, self.last_reason)
        self._errors.clear()
        self._first = None
        self._tell(self.name, degraded=True)
        self._recovery = Thread(target=self._recover, name="engine-recovery", daemon=True)
        self._recovery.start()

    def _recover(self) -> None:
        """The thread: attempt after attempt, each after a longer pause, until one succeeds."""
        for attempt, pause in enumerate(self._policy.pauses(), start=1):
            if self._wait(pause):
                return
            try:
                engine = self._reload()
            except Exception as error:
                self._reasons[self._first_name] = f"it cannot be loaded again ({error})"
                continue
            logger.info("engine %s serves again, loaded at attempt %d", self._first_name, attempt)
            self._first = engine
            self._tell(engine.name, degraded=False)
            return


def _ran(engine: Engine, images: Pixels) -> Ran:
    return Ran(engine.run(images), (engine.name,))
