"""Files classified in this process, without a server: decoded in threads while the engine runs on those before them.

What is kept of a file is its answer alone, and that goes to the journal after every batch: memory does not grow with
the pictures, and a run that was stopped goes on after its last batch.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from export.bundle import Bundle, Outputs
from service import files, journal, tables
from service.answers import answers, attempt, good
from service.errors import PictureError
from service.journal import Row
from training.pixels import Pixels

# Batches that are decoded, or in work, while the engine runs.
AHEAD = 2
MOST_NAMED = 20  # of the bad files at the end

Run: TypeAlias = Callable[[Pixels], Outputs]
Decoded: TypeAlias = tuple[str, Pixels | PictureError]


class OfflineError(Exception):
    """The run cannot begin or go on; the message says why."""


@dataclass(frozen=True)
class Job:
    """What to do: with which model, and within which limits."""

    bundle: Bundle
    run: Run  # the engine, on uint8 [N, H, W, C]
    top_k: int
    batch: int  # pictures in one call of the engine
    threads: int  # that decode
    max_bytes: int  # of a file
    max_pixels: int  # of a picture

    def header(self) -> Row:
        """What must be the same in a run that goes on."""
        model = f"{self.bundle.name}:{self.bundle.version}"
        return {"journal": 1, "model": model, "top_k": self.top_k, "folder": str(Path.cwd())}


@dataclass
class Tally:
    """What became of the files so far."""

    files: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)  # the first of the bad ones, with their reasons

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, counted as they pass."""
        for row in rows:
            self.files += 1
            if "error" in row:
                self.bad += 1
                if self.bad <= MOST_NAMED:
                    self.named.append(f"{row['filename']}: {row['error']}")
            yield row


def to_table(named: Sequence[Path], job: Job, out: Path, advance: Callable[[int], None]) -> Tally:
    """Classify what the journal beside `out` lacks, then make `out` of it; `advance` is told of files that are done.

    Raises PathError, JournalError, OSError and OfflineError; the journal then keeps what was done.
    """
    kept = journal_of(out)
    done = journal.open_or_begin(kept, job.header())
    advance(len(done))
    wanted = (path for path in files.pictures(named) if shown(path) not in done)
    for rows in classified(wanted, job):
        journal.append(kept, rows)
        advance(len(rows))
    tally = Tally()
    tables.write(out, tally.count(journal.rows(kept)))
    kept.unlink()
    return tally


def journal_of(out: Path) -> Path:
    """Where the journal is while `out` is not there yet."""
    return out.with_name(f"{out.name}.journal")


def to_lines(named: Sequence[Path], job: Job, emit: Callable[[bytes], object], advance: Callable[[int], None]) -> Tally:
    """Classify everything and `emit` a line of JSON for each file. Raises PathError and OfflineError."""
    tally = Tally()
    for rows in classified(files.pictures(named), job):
        emit(b"".join(map(journal.line, tally.count(rows))))
        advance(len(rows))
    return tally


def classified(paths: Iterable[Path], job: Job) -> Iterator[list[Row]]:
    """The answers for the files, in their order, a batch at a time. Raises OfflineError where the engine fails."""
    pool = ThreadPoolExecutor(job.threads, thread_name_prefix="decoder")
    try:
        decoded = _ahead(pool, partial(_decoded, job=job), paths, AHEAD * job.batch)
        while batch := list(islice(decoded, job.batch)):
            names, pictures = zip(*batch, strict=True)
            usable = good(pictures)
            outputs = _run(usable, job, names[0]) if usable else None
            yield answers(names, pictures, outputs, job.bundle, job.top_k)
    finally:
        pool.shutdown(cancel_futures=True)


def shown(path: Path) -> str:
    """A path as text that every format can hold: bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _run(pictures: list[Pixels], job: Job, first: str) -> Outputs:
    try:
        return job.run(np.stack(pictures))
    except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
        reason = f"{type(error).__name__}: {error}"
        raise OfflineError(f"the engine failed on the batch that begins with {first} ({reason})") from error


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Path], Decoded], paths: Iterable[Path], most: int
) -> Iterator[Decoded]:
    """`work` of every path, in their order; up to `most` are done, or in work, before they are asked for."""
    waiting: deque[Future[Decoded]] = deque()
    for path in paths:
        waiting.append(pool.submit(work, path))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decoded(path: Path, job: Job) -> Decoded:
    return shown(path), _picture(path, job)


def _picture(path: Path, job: Job) -> Pixels | PictureError:
    try:
        # Before it is opened, as a pipe would wait for somebody to write.
        if not path.is_file():
            return PictureError("this is no plain file, or it is gone")
        with path.open("rb") as file:
            content = file.read(job.max_bytes + 1)
    except OSError as error:
        return PictureError(f"the file cannot be read ({error.strerror})")
    if len(content) > job.max_bytes:
        return PictureError(f"the file is larger than {job.max_bytes:,} bytes; scale the picture down")
    return attempt(content, job.bundle, job.max_pixels)
