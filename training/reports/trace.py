"""A PyTorch profiler trace of ten training steps, to be opened in Perfetto or chrome://tracing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import profile, schedule

WARM_UP, STEPS = 3, 10


@contextmanager
def traced(path: Path) -> Iterator[Callable[[], None]]:
    """Gives a function to call after every step; when ten were traced, `path` (JSON) is written."""

    def write(profiler: profile) -> None:
        if profiler.step_num >= WARM_UP + STEPS:  # and not where the run ended before
            path.parent.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(path))

    with profile(
        schedule=schedule(wait=1, warmup=WARM_UP - 1, active=STEPS, repeat=1), on_trace_ready=write
    ) as profiler:
        yield profiler.step
    if profiler.step_num < WARM_UP + STEPS:
        print(f"no trace: the run had fewer than {WARM_UP + STEPS} steps left")
