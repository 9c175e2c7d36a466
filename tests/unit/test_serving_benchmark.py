"""The benchmark of servers: its load generator tells what happened, and its record is held against the targets."""

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import answers, generator, page, summary
from benchmarks.serving.__main__ import _names
from benchmarks.serving.connection import parsed
from benchmarks.serving.contenders import CONTENDERS
from benchmarks.serving.generator import Tally, Task
from benchmarks.serving.loads import LOADS
from benchmarks.serving.record import Record, RecordError
from benchmarks.serving.turns import TurnError, peak, rate

EXPECTED = [[0.1, 0.9], [0.75, 0.25]]
RIGHT = [{"class_id": 1, "probability": 0.9}, {"class_id": 0, "probability": 0.75}]


@pytest.mark.parametrize("document", [RIGHT, {"predictions": RIGHT}], ids=["list", "member"])
def test_the_best_class_of_every_picture_is_right(document: Any) -> None:
    assert answers.is_right(json.dumps(document).encode(), EXPECTED)


@pytest.mark.parametrize(
    "predictions",
    [
        RIGHT[:1],
        RIGHT[::-1],
        [RIGHT[0], {"class_id": 1, "probability": 0.25}],
        [RIGHT[0], {"class_id": 0, "probability": 0.7}],
        [RIGHT[0], {"error": "not a picture"}],
        {"detail": "no"},
    ],
    ids=["one missing", "other order", "second best", "other probability", "an error", "no list"],
)
def test_another_answer_is_wrong(predictions: Any) -> None:
    assert not answers.is_right(json.dumps({"predictions": predictions}).encode(), EXPECTED)


def test_what_is_not_json_is_wrong() -> None:
    assert not answers.is_right(b"<html>", EXPECTED)


def test_an_answer_that_was_right_for_one_request_is_checked_anew_for_another() -> None:
    checker = answers.Checker([EXPECTED, EXPECTED[::-1]])
    body = json.dumps(RIGHT).encode()
    assert [checker.is_right(0, body), checker.is_right(0, body), checker.is_right(1, body)] == [True, True, False]


def test_an_http_answer_is_read_once_it_is_whole() -> None:
    whole = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncontent-length: 2\r\n\r\nno"
    assert all(parsed(whole[:end]) is None for end in range(len(whole)))
    answer = parsed(whole)
    assert answer is not None
    assert (answer.status, answer.retry_after, answer.body) == (503, True, b"no")


def test_an_http_answer_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        parsed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_only_the_window_counts() -> None:
    tally = Tally(begin=10, end=14)
    tally.add(9, 11, pictures=2, error=None)  # of the warm-up; its pictures came in the window
    tally.add(10, 12, pictures=2, error=None)
    tally.add(13, 15, pictures=2, error=None)  # too late for the throughput, but not for the times
    tally.add(13, 13.5, pictures=2, error="503", told=True)
    told = generator.report(tally, cpu_seconds=1)
    assert told == {
        "requests": 3,
        "images_per_second": 1.0,
        "p50_ms": 2000.0,
        "p95_ms": 2000.0,
        "p99_ms": 2000.0,
        "errors": {"503": 1},
        "told_when": 1,
        "pictures_in_all": 6,
        "generator_cpu": 0.25,
    }


def test_percentiles_are_the_least_value_that_so_many_do_not_exceed() -> None:
    ordered = [number / 1000 for number in range(1, 201)]
    assert [generator.percentile(ordered, percent) for percent in (50, 95, 99)] == [100, 190, 198]
    assert generator.percentile([], 50) is None


def test_a_task_is_what_was_written() -> None:
    task = Task(port=1, requests=[b"\xff\x00"], expected=[EXPECTED], warm_up=0.5, seconds=1.0, rate=3.0)
    assert Task.read(task.written()) == task


def run(task: Callable[[int], Task], answer: bytes) -> dict[str, Any]:
    """What the generator tells of a server that answers everything with the same bytes."""

    serving = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        serving += 1
        while await reader.read(1):
            writer.write(answer)
        writer.close()
        await writer.wait_closed()
        serving -= 1

    async def both() -> dict[str, Any]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            told = await generator.carry_out(task(server.sockets[0].getsockname()[1]))
            while serving:
                await asyncio.sleep(0.01)
            return told

    return asyncio.run(both())


def closed(port: int) -> Task:
    return Task(port, [b"?"], [EXPECTED], warm_up=0.02, seconds=0.2, clients=2)


def opened(port: int) -> Task:
    return Task(port, [b"?"], [EXPECTED], warm_up=0.02, seconds=0.2, rate=200.0)


def response(status: int, body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} ?\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("task", [closed, opened])
def test_right_answers_are_counted(task: Callable[[int], Task]) -> None:
    told = run(task, response(200, json.dumps(RIGHT).encode()))
    assert told["requests"] > 0
    assert told["errors"] == {}
    assert told["pictures_in_all"] >= 2 * told["requests"]


@pytest.mark.parametrize("task", [closed, opened])
@pytest.mark.parametrize(
    ("answer", "error", "told_when"),
    [
        (response(503, b"busy", "Retry-After: 1\r\n"), "503", True),
        (response(503, b"busy"), "503", False),
        (response(200, b"[]"), "wrong", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", "ValueError", False),
    ],
    ids=["refused", "refused without a word", "wrong", "unreadable"],
)
def test_every_other_answer_is_an_error(
    task: Callable[[int], Task], answer: bytes, error: str, told_when: bool
) -> None:
    told = run(task, answer)
    assert told["errors"] == {error: told["requests"]}
    assert told["told_when"] == (told["requests"] if told_when else 0)
    assert (told["images_per_second"], told["p50_ms"]) == (0, None)


def test_what_is_not_answered_in_the_end_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "PATIENCE", 0.1)
    told = run(opened, b"")
    assert told["requests"] > 0
    assert told["errors"] == {"late": told["requests"]}


def load(server: str, name: str, number: int, **figures: Any) -> dict[str, Any]:
    """A made-up measurement."""
    usual = {"p50_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "cpu_ms_a_picture": 0.5, "generator_cpu": 0.1}
    return {
        "server": server,
        "load": name,
        "round": number,
        "requests": 100,
        "errors": {},
        "told_when": 0,
        **usual,
        **figures,
    }


def start(server: str, number: int, seconds: float) -> dict[str, Any]:
    """A made-up start."""
    return {
        "server": server, "round": number, "seconds": seconds, "torch": False, "worker_mib": 200.0, "total_mib": 300.0
    }  # fmt: skip


RESULT: dict[str, Any] = {
    "command": ["python", "-m", "benchmarks.serving"],
    "targets": True,
    "model": {"name": "tiny", "variant": "int8", "version": "0" * 12, "bytes": 2_000_000, "sha256": "f" * 64},
    "settings": {"seconds": 5.0, "warm_up": 1.0},
    "provenance": {"commit": "c" * 40, "versions": {"python": "3.11"}, "device": "cpu (made up)", "cores": 2},
    "loads": [
        *(load("ours", "32x1", number, images_per_second=speed) for number, speed in enumerate((1000, 300, 1200))),
        *(load("litserve", "32x1", number, images_per_second=speed) for number, speed in enumerate((400, 150, 800))),
        load("bentoml", "32x1", 0, images_per_second=250, errors={"503": 7}),
        load("ours", "8x32", 0, images_per_second=1500),
        load("ours", "open-0.8", 0, images_per_second=800, p99_ms=10.0),
        load("ours", "open-2", 0, images_per_second=900, p99_ms=20.0, errors={"503": 50}, told_when=50),
    ],
    "starts": [start("ours", 0, 6.0), start("empty", 0, 4.0), start("ours", 1, 20.0)],
    "ceiling": [{"round": 0, "images_per_second": 2000.0}],
}


def figures(result: dict[str, Any]) -> dict[str, tuple[float | None, bool | None]]:
    return {target.what: (target.figure, target.met) for target in summary.targets(result)}


def test_ratios_are_medians_of_the_ratios_within_rounds() -> None:
    found = figures(RESULT)
    assert found["32x1: images/s, ours to LitServe's"] == (2.0, True)  # of 2.5, 2 and 1.5
    assert found["32x1: images/s, ours to stock BentoML's"] == (4.0, True)
    assert found["8x32: images/s, ours to the ceiling"] == (0.75, True)
    assert found["start to ready, ours to an empty BentoML service's"] == (1.5, True)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert figures(RESULT)["32x1: images/s, ours to bare Starlette's"] == (None, None)


def test_overload_is_held_against_the_peak_and_the_calm_of_its_round() -> None:
    found = figures(RESULT)
    assert found["open-2: goodput to peak"] == (0.9, True)
    assert found["open-2: p99 of the accepted, to p99 at 80 %"] == (2.0, True)
    assert found["open-2: refusals that say when to come again"] == (1.0, True)


def test_the_peak_is_that_of_closed_loops_with_one_picture() -> None:
    assert peak(RESULT["loads"], "ours", 0) == 1000
    assert peak(RESULT["loads"], "starlette", 0) is None


def test_an_open_loop_needs_to_know_what_the_server_carries(tmp_path: Path) -> None:
    record = Record(tmp_path / "result.json", {}, resume=False)
    assert rate("ours", 0, LOADS["32x1"], record) == 0
    with pytest.raises(TurnError, match="add one of 1x1, 8x1, 32x1, 128x1"):
        rate("ours", 0, LOADS["open-0.8"], record)
    record.add("loads", **load("ours", "32x1", 0, images_per_second=1000.0))
    assert rate("ours", 0, LOADS["open-0.8"], record) == 800


def test_the_page_has_targets_loads_errors_and_versions() -> None:
    text = page.table(RESULT)
    assert "| 32x1: images/s, ours to LitServe's | 2.00x | >= 2.00x | met |" in text
    assert "| ours | 1,000 | 1.0 | 2.0 | 3.0 | 0.50 | 10% |  |" in text
    assert "| BentoML, batchable=True | 250 | 1.0 | 2.0 | 3.0 | 0.50 | 10% | 7 503 |" in text
    assert "## Open loop at 200% of each server's own peak, 1 picture a request" in text
    assert f"Commit {'c' * 40}; python 3.11." in text


def test_a_page_without_targets_has_none() -> None:
    assert "target" not in page.table({**RESULT, "targets": False})


def test_a_record_without_a_measurement_has_page_and_picture() -> None:
    empty = {**RESULT, "loads": [], "starts": [], "ceiling": []}
    assert "not measured" in page.table(empty)
    assert page.picture(empty).startswith(b"\x89PNG")


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, head = tmp_path / "result.json", {key: RESULT[key] for key in ("model", "settings", "provenance")}
    head["format"] = 1
    Record(path, head, resume=False).add("loads", server="ours", load="1x1", round=0, images_per_second=1 / 3)
    again = Record(path, head, resume=True)
    assert again.has("loads", server="ours", load="1x1", round=0)
    assert not again.has("loads", server="ours", load="1x1", round=1)
    assert again.document["loads"][0]["images_per_second"] == 0.333333


def test_a_result_is_neither_overwritten_nor_gone_on_with_under_other_conditions(tmp_path: Path) -> None:
    path, head = tmp_path / "result.json", {key: RESULT[key] for key in ("model", "settings", "provenance")}
    head["format"] = 1
    Record(path, head, resume=False).add("ceiling", round=0, images_per_second=1.0)
    with pytest.raises(RecordError, match="--resume"):
        Record(path, head, resume=False)
    with pytest.raises(RecordError, match="another model"):
        Record(path, {**head, "model": {"name": "other"}}, resume=True)


def test_servers_and_loads_are_chosen_by_name() -> None:
    assert _names(LOADS)("8x32,1x1") == ["1x1", "8x32"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: mlserver; there are: ours, ours-threads, bentoml"):
        _names(CONTENDERS)("ours,mlserver")
