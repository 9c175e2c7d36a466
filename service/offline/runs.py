"""Files classified in this process, without a server: decoded in threads while the engine runs on those before them.

What is kept of a file is its answer alone, and that goes to the journal after every batch: memory does not grow with
the pictures, and a run that was stopped goes on after its last batch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from export.bundle import Bundle, Outputs
from service.offline import journal, tables
from service.offline.job import Job
from service.offline.journal import Row
from service.offline.sources import Source, shares, sources
from service.pictures.answers import answers, attempt, good
from service.pictures.images import PictureError
from training.pixels import Pixels

# Batches that are decoded, or in work, while the engine runs.
AHEAD = 2
MOST_NAMED = 20  # of the bad files at the end

Decoded: TypeAlias = tuple[str, Pixels | PictureError]
# Answers for named files and folders, but for the pictures of these names: in their order, some at a time.
Way: TypeAlias = Callable[[Sequence[Path], Set[str]], Iterator[list[Row]]]


class OfflineError(Exception):
    """The run cannot begin or go on; the message says why."""


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


def header(bundle: Bundle, top_k: int) -> Row:
    """What must be the same in a run that goes on."""
    return {"journal": 1, "model": f"{bundle.name}:{bundle.version}", "top_k": top_k, "folder": str(Path.cwd())}


def to_table(named: Sequence[Path], way: Way, run: Row, out: Path, advance: Callable[[int], None]) -> Tally:
    """Classify what the journal beside `out` lacks, then make `out` of it; `advance` is told of files that are done.

    `run` is its header. Raises JournalError, OSError and what `way` raises; the journal then keeps what was done.
    """
    kept = journal_of(out)
    done = journal.open_or_begin(kept, run)
    advance(len(done))
    for rows in way(named, done):
        journal.append(kept, rows)
        advance(len(rows))
    tally = Tally()
    tables.write(out, tally.count(journal.rows(kept)))
    kept.unlink()
    return tally


def journal_of(out: Path) -> Path:
    """Where the journal is while `out` is not there yet."""
    return out.with_name(f"{out.name}.journal")


def to_lines(named: Sequence[Path], way: Way, emit: Callable[[bytes], object], advance: Callable[[int], None]) -> Tally:
    """Classify everything and `emit` a line of JSON for each file. Raises what `way` raises."""
    tally = Tally()
    for rows in way(named, frozenset()):
        emit(b"".join(map(journal.line, tally.count(rows))))
        advance(len(rows))
    return tally


def here(named: Sequence[Path], done: Set[str], job: Job) -> Iterator[list[Row]]:
    """The way that is this process alone. Raises PathError, SourceError and OfflineError."""
    return classified((source for source in sources(shares(named)) if source.name not in done), job)


def classified(given: Iterable[Source], job: Job) -> Iterator[list[Row]]:
    """The answers for pictures, in their order, a batch at a time. Raises OfflineError where the engine fails."""
    pool = ThreadPoolExecutor(job.threads, thread_name_prefix="decoder")
    try:
        decoded = _ahead(pool, partial(_decoded, job=job), given, AHEAD * job.batch)
        while batch := list(islice(decoded, job.batch)):
            names, pictures = zip(*batch, strict=True)
            usable = good(pictures)
            outputs = _run(usable, job, names[0]) if usable else None
            yield answers(names, pictures, outputs, job.bundle, job.top_k)
    finally:
        pool.shutdown(cancel_futures=True)


def _run(pictures: list[Pixels], job: Job, first: str) -> Outputs:
    try:
        return job.run(np.stack(pictures))
    except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
        reason = f"{type(error).__name__}: {error}"
        raise OfflineError(f"the engine failed on the batch that begins with {first} ({reason})") from error


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Source], Decoded], given: Iterable[Source], most: int
) -> Iterator[Decoded]:
    """`work` of every source, in their order; up to `most` are done, or in work, before they are asked for."""
    waiting: deque[Future[Decoded]] = deque()
    for source in given:
        waiting.append(pool.submit(work, source))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decoded(source: Source, job: Job) -> Decoded:
    content = source.content
    found = _content(content, job.max_bytes) if isinstance(content, Path) else content
    if isinstance(found, PictureError):
        return source.name, found
    if len(found) > job.max_bytes:
        return source.name, PictureError(f"the file is larger than {job.max_bytes:,} bytes; scale the picture down")
    return source.name, attempt(found, job.bundle, job.max_pixels)


def _content(path: Path, most: int) -> bytes | PictureError:
    """What is in a file, of more than `most` bytes one more than that."""
    try:
        # Before it is opened, as a pipe would wait for somebody to write.
        if not path.is_file():
            return PictureError("this is no plain file, or it is gone")
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        return PictureError(f"the file cannot be read ({error.strerror})")
