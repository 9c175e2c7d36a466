"""One server's turn: started, put under every load that the record does not have, looked at, stopped."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.contenders import CONTENDERS, ROOT, command
from benchmarks.serving.generator import Task
from benchmarks.serving.loads import LOADS, PEAK_LOADS, Load
from benchmarks.serving.pictures import CONTENT_TYPE, Request
from benchmarks.serving.processes import Server, free_port, running
from benchmarks.serving.record import Record

# What it takes to start a process and to read the task; a generator that hangs is still found.
GENERATOR_PATIENCE = 60.0


class TurnError(Exception):
    """A turn cannot be finished; the message says why and what to do."""


@dataclass(frozen=True)
class Pace:
    """How long each load lasts, in seconds."""

    warm_up: float
    seconds: float


@dataclass(frozen=True)
class Course:
    """What all turns of a run share."""

    record: Record
    requests: Mapping[int, Sequence[Request]]  # by the pictures in each
    pace: Pace
    env: Mapping[str, str]
    log: Path


def take(name: str, number: int, loads: Sequence[str], course: Course) -> None:
    """The turn of the server of that name in round `number`. Raises ServerError and TurnError."""
    contender, record = CONTENDERS[name], course.record
    wanted = [load for load in loads if load in contender.loads and not record.has("loads", **_key(name, number, load))]
    if not wanted and record.has("starts", server=name, round=number):
        return
    port = free_port()
    env = {**course.env, **contender.variables}
    with running(command(contender, port), port, contender.ready, env, course.log) as server:
        for load in wanted:
            measured = measure(server, LOADS[load], rate(name, number, LOADS[load], record), contender.requests, course)
            record.add("loads", **_key(name, number, load), **measured)
        if not record.has("starts", server=name, round=number):
            record.add(
                "starts",
                server=name,
                round=number,
                seconds=server.seconds_to_ready,
                torch=server.has_loaded("/torch/"),
                worker_mib=server.worker_mib(),
                total_mib=server.total_mib(),
            )


def measure(server: Server, load: Load, rate: float, most: int | None, course: Course) -> dict[str, Any]:
    """Put one load on a server, and return what the generator and the processes tell of it.

    `rate` is that of an open loop in requests a second; `most` is how many different requests there are to be.
    """
    requests, pace = course.requests[load.pictures][:most], course.pace
    task = Task(
        port=server.port,
        requests=[with_head(request.body) for request in requests],
        expected=[request.expected for request in requests],
        warm_up=pace.warm_up,
        seconds=pace.seconds,
        clients=load.clients,
        rate=rate,
    )
    before = server.cpu_seconds()
    found = _generate(task)
    pictures = found.pop("pictures_in_all")
    used = server.cpu_seconds() - before
    return {**found, "rate": rate, "cpu_ms_a_picture": 1000 * used / pictures if pictures else None}


def _generate(task: Task) -> dict[str, Any]:
    """What the load generator tells. Raises TurnError."""
    words = [sys.executable, "-m", "benchmarks.serving.generator"]
    patience = task.warm_up + task.seconds + GENERATOR_PATIENCE
    try:
        told = subprocess.run(
            words, input=task.written(), capture_output=True, text=True, check=True, timeout=patience, cwd=ROOT
        )
    except subprocess.SubprocessError as error:
        raise TurnError(f"the load generator told nothing ({error}); go on with --resume") from error
    return dict(json.loads(told.stdout))


def with_head(body: bytes) -> bytes:
    """A whole HTTP request with this form."""
    lines = (
        "POST /classify HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + body


def peak(measured: Sequence[Mapping[str, Any]], name: str, number: int) -> float | None:
    """The most pictures a second that a server carried in closed loops of one picture, in one round; None where
    that was not measured."""
    speeds = [
        one["images_per_second"]
        for one in measured
        if one["server"] == name and one["round"] == number and one["load"] in PEAK_LOADS
    ]
    return max(speeds, default=None)


def rate(name: str, number: int, load: Load, record: Record) -> float:
    """Requests a second of an open loop; 0 for a closed one. Raises TurnError where the peak is not known."""
    if not load.share:
        return 0.0
    found = peak(record.document["loads"], name, number)
    if found is None:
        wanted = ", ".join(PEAK_LOADS)
        raise TurnError(f"{load.name} is a share of what {name} carries, which no load has shown; add one of {wanted}")
    return load.share * max(found, 1.0)


def _key(name: str, number: int, load: str) -> dict[str, Any]:
    return {"server": name, "round": number, "load": load}
