"""A server as processes of Linux: started, awaited, looked at, stopped."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.contenders import ROOT

START_PATIENCE = 120.0
STOP_PATIENCE = 20.0
LOOK = 0.01  # seconds between two looks whether a server is ready
CALM = 0.1  # of a core: a server that uses less has begun all its workers
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server did not start; the message says where its output is."""


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    port: int
    seconds_to_ready: float

    def pids(self) -> list[int]:
        """The process and all that it started, and those started."""
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    found.extend(map(int, (thread / "children").read_text().split()))
        return found

    def cpu_seconds(self) -> float:
        """That all of them have used, in user and system mode."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS

    def worker_mib(self) -> float:
        """Resident memory of the largest, with the pages that it shares."""
        return max(_kib(pid, "status", "VmRSS") for pid in self.pids()) / 1024

    def total_mib(self) -> float:
        """Memory of all of them, with pages that they share counted once."""
        return sum(_kib(pid, "smaps_rollup", "Pss") for pid in self.pids()) / 1024

    def has_loaded(self, library: str) -> bool:
        """Whether any of them has mapped a file whose path contains `library`."""
        return any(library in _read(pid, "maps") for pid in self.pids())


@contextmanager
def running(words: Sequence[str], port: int, ready: str, env: Mapping[str, str], log: Path) -> Iterator[Server]:
    """A server whose `ready` path answers 200 and whose workers have all begun. Raises ServerError."""
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        began = time.monotonic()
        # A session of its own, so that whatever is left of it in the end can be ended as one.
        process = subprocess.Popen(
            words,
            env=env,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not is_ready(port, ready):
            if process.poll() is not None or time.monotonic() - began > START_PATIENCE:
                raise ServerError(f"{' '.join(words)} did not become ready; its output is in {log}")
            time.sleep(LOOK)
        server = Server(process, port, time.monotonic() - began)
        _wait_for_calm(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_ready(port: int, path: str) -> bool:
    """Whether the path answers 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_for_calm(server: Server) -> None:
    """One worker answers for all while others still begin; a request to none of those would count against it."""
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        used = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - used < CALM:
            return


def _cpu_ticks(pid: int) -> int:
    """User and system time, in clock ticks: fields 14 and 15, behind a name that may hold spaces."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _kib(pid: int, file: str, name: str) -> int:
    """A figure in KiB of a file of /proc; 0 where the process has ended."""
    lines = (line.split() for line in _read(pid, file).splitlines())
    return next((int(words[1]) for words in lines if words[0] == f"{name}:"), 0)


def _read(pid: int, name: str) -> str:
    """A file of /proc; empty where the process has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text()
    return ""
