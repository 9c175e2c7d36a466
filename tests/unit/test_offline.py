"""Files classified without a server: the service's answers, in order, bounded, and after a stop only what is left."""

import asyncio
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from export.bundle import Bundle, Outputs
from service.offline import runs
from service.offline.job import Job
from service.offline.runs import OfflineError, Tally, Way
from service.offline.sources import Source
from service.pictures.answers import attempt
from service.pictures.classify import Upload, classify
from tests.unit.fakes import BUNDLE, TELLING, BrokenEngine, ChannelEngine, owner, png, serving
from training.pixels import Pixels

BATCH = 4
BAD = (b"", b"text", b"%PDF-1.7", png(1)[:45], b"x" * 3000)


def job(engine: ChannelEngine, bundle: Bundle = BUNDLE, **changes: Any) -> Job:
    given = Job(bundle, engine.name, engine.run, top_k=3, batch=BATCH, threads=2, max_bytes=2000, max_pixels=100)
    return replace(given, **changes)


def folder(root: Path, *contents: bytes) -> Path:
    """`contents` as 000.png, 001.png and so on."""
    root.mkdir()
    for number, content in enumerate(contents):
        (root / f"{number:03d}.png").write_bytes(content)
    return root


def told(_: int) -> None:
    """Of progress, to nobody."""


def lines(named: Path, given: Job) -> list[dict[str, Any]]:
    """What is printed of a folder."""
    printed: list[bytes] = []
    runs.to_lines([named], way(given), printed.append, told)
    return [json.loads(line) for line in b"".join(printed).splitlines()]


def way(given: Job) -> Way:
    return partial(runs.here, job=given)


def table(named: list[Path], given: Job, out: Path, advance: Callable[[int], None]) -> Tally:
    return runs.to_table(named, way(given), runs.header(given.bundle, given.top_k), out, advance)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def served(paths: list[Path], bundle: Bundle, top_k: int) -> list[Any]:
    """What the service answers to the same files."""
    uploads = [Upload(str(path), path.read_bytes()) for path in paths]

    async def ask() -> list[Any]:
        async with serving(ChannelEngine(), bundle, max_megapixels=1) as started:
            predictions, _ = await classify(uploads, started, top_k=top_k, deadline=math.inf)
            return predictions

    return asyncio.run(ask())


@pytest.mark.parametrize("bundle", [BUNDLE, TELLING], ids=["plain", "tells-the-unknown"])
@pytest.mark.parametrize("top_k", [1, 3])
def test_the_answers_are_those_of_the_service(tmp_path: Path, bundle: Bundle, top_k: int) -> None:
    contents = [content for number in range(9) for content in (png(90 + number, 30, 7 * number), BAD[number % 4])]
    root = folder(tmp_path / "in", *contents)
    given = job(ChannelEngine(), bundle, top_k=top_k, max_pixels=1_000_000)
    assert lines(root, given) == served(sorted(root.iterdir()), bundle, top_k)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("number", [1, BATCH, 5 * BATCH + 3])
def test_every_file_has_its_own_answer_in_the_order_of_the_files(tmp_path: Path, number: int, threads: int) -> None:
    root = folder(tmp_path / "in", *(png(red) for red in range(number)))
    engine = ChannelEngine()
    found = lines(root, job(engine, threads=threads))
    assert [(row["filename"], owner(row)) for row in found] == [(str(root / f"{n:03d}.png"), n) for n in range(number)]
    assert engine.batches == [BATCH] * (number // BATCH) + [number % BATCH] * (number % BATCH > 0)


def test_bad_files_are_answered_in_their_place_and_never_reach_the_engine(tmp_path: Path) -> None:
    engine = ChannelEngine()
    found = lines(folder(tmp_path / "in", png(1), *BAD, png(2)), job(engine))
    assert [row.get("error", "")[:26] for row in found] == [
        "",
        "the file is empty",
        "this is not a picture; sen",
        "this is a PDF document and",
        "the picture is damaged or ",
        "the file is larger than 2,",
        "",
    ]
    assert engine.batches == [1, 1]


def test_a_batch_of_bad_files_alone_leaves_the_engine_alone(tmp_path: Path) -> None:
    engine = ChannelEngine()
    assert len(lines(folder(tmp_path / "in", *BAD), job(engine, batch=len(BAD)))) == len(BAD)
    assert engine.batches == []


def test_what_is_no_plain_file_is_a_bad_file_and_is_not_waited_for(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", png(1))
    os.mkfifo(root / "pipe.png")
    (root / "broken.png").symlink_to(tmp_path / "nowhere")
    errors = {Path(row["filename"]).name: row.get("error") for row in lines(root, job(ChannelEngine()))}
    refused = "this is no plain file, or it is gone"
    assert errors == {"000.png": None, "pipe.png": refused, "broken.png": refused}


def test_a_name_that_is_no_text_is_shown_with_its_bytes(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path / "in") + b"/\xff.png"
    folder(tmp_path / "in")
    Path(os.fsdecode(name)).write_bytes(png(7))
    (row,) = lines(tmp_path / "in", job(ChannelEngine()))
    assert row["filename"].endswith(r"/\xff.png")
    assert owner(row) == 7


def test_a_table_is_whole_and_its_journal_gone(tmp_path: Path) -> None:
    root, out, engine = folder(tmp_path / "in", png(1), b"", png(2)), tmp_path / "out.jsonl", ChannelEngine()
    done: list[int] = []
    tally = table([root], job(engine), out, done.append)
    assert rows_of(out) == lines(root, job(engine))
    assert (tally.files, tally.bad, tally.named) == (3, 1, [f"{root / '001.png'}: the file is empty"])
    assert sum(done) == 3
    assert not runs.journal_of(out).exists()


def test_of_many_bad_files_the_first_are_named(tmp_path: Path) -> None:
    tally = table([folder(tmp_path / "in", *[b""] * 25)], job(ChannelEngine()), tmp_path / "o.jsonl", told)
    assert (tally.bad, len(tally.named)) == (25, runs.MOST_NAMED)


def failing_at(batch: int, error: BaseException) -> tuple[ChannelEngine, Callable[[Pixels], Outputs]]:
    """An engine that is stopped in its batch of that number, and after that no more."""
    engine, calls = ChannelEngine(), count(1)

    def run(images: Pixels) -> Outputs:
        if next(calls) == batch:
            raise error
        return engine.run(images)

    return engine, run


@pytest.mark.parametrize("stopped_in", [1, 2, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no memory")], ids=["stopped", "failed"])
def test_a_run_that_goes_on_does_the_rest_alone_and_ends_as_if_never_stopped(
    tmp_path: Path, stopped_in: int, error: BaseException
) -> None:
    root = folder(tmp_path / "in", *(png(red) for red in range(3 * BATCH - 1)))
    out, expected = tmp_path / "out.jsonl", lines(root, job(ChannelEngine()))
    engine, run = failing_at(stopped_in, error)
    with pytest.raises((KeyboardInterrupt, OfflineError)):
        table([root], job(engine, run=run), out, told)
    assert not out.exists()
    assert len(engine.batches) == stopped_in - 1

    table([root], job(engine, run=run), out, told)
    assert rows_of(out) == expected
    assert sum(engine.batches) == len(expected)


def test_a_failed_batch_is_told_with_its_first_file_and_the_reason(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", png(1))
    with pytest.raises(OfflineError, match=r"batch that begins with .*000\.png \(RuntimeError: no memory for 1"):
        lines(root, job(BrokenEngine()))


def test_a_file_that_came_while_the_run_was_stopped_is_done_too_and_none_twice(tmp_path: Path) -> None:
    root, out = folder(tmp_path / "in", *(png(red) for red in range(2 * BATCH))), tmp_path / "out.jsonl"
    engine, run = failing_at(2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        table([root], job(engine, run=run), out, told)
    (root / "000-new.png").write_bytes(png(99))
    table([root], job(engine, run=run), out, told)
    assert sorted(owner(row) for row in rows_of(out)) == [*range(2 * BATCH), 99]


def test_what_was_there_stays_until_the_new_table_is_whole(tmp_path: Path) -> None:
    root, out = folder(tmp_path / "in", png(1)), tmp_path / "out.jsonl"
    out.write_text("before")
    with pytest.raises(OfflineError):
        table([root], job(BrokenEngine()), out, told)
    assert out.read_text() == "before"


def test_never_more_files_are_in_work_than_two_batches_ahead() -> None:
    asked = 0

    def given() -> Iterator[Source]:
        nonlocal asked
        for number in range(1000):
            asked += 1
            yield Source(f"{number}", Path(f"/nowhere/{number}"))

    rows = runs.classified(given(), job(ChannelEngine()))
    for batches in range(1, 20):
        next(rows)
        assert asked <= (batches + runs.AHEAD) * BATCH + 1


def test_files_are_decoded_while_the_engine_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "in", *(png(red) for red in range(2 * BATCH)))
    engine, running, decoded = ChannelEngine(), threading.Event(), threading.Event()

    def attempt_later(content: bytes, *limits: Any) -> Any:
        if content == png(BATCH):  # of the second batch
            assert running.wait(60), "the engine never ran"
            decoded.set()
        return attempt(content, *limits)

    def run(images: Pixels) -> Outputs:
        running.set()
        assert decoded.wait(60), "nothing was decoded while the engine ran"
        return engine.run(images)

    monkeypatch.setattr(runs, "attempt", attempt_later)
    assert len(lines(root, job(engine, run=run))) == 2 * BATCH
