"""A container of docker, podman or buildah: started, gone into, read, stopped.

docker and podman run it as it is meant to be run. buildah has neither a read-only root nor an exec: it runs every
command as a process of its own in one root file system, which is then searched for files that should not be there.
"""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from benchmarks.image.inside import PORT

TMPFS = "/tmp:mode=1777,size=256m"  # noqa: S108 - in the container
CONFINED = ("--network", "none", "--read-only", "--tmpfs", TMPFS, "--cap-drop", "ALL", "--cpuset-cpus", "0,1")
NO_NEW = ("--security-opt", "no-new-privileges")
# podman would put a tmpfs into more folders than the one that is asked for.
ALONE = {"docker": (), "podman": ("--read-only-tmpfs=false",)}
PATIENCE = 60.0


class ContainerError(Exception):
    """A command of the engine failed; the message has its own."""


class Container(Protocol):
    """One that runs, or ran."""

    @property
    def started(self) -> float:
        """When its server was started, by the monotonic clock."""

    def execute(self, command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command in it as its user."""

    def process(self) -> str:
        """The lines of /proc/PID/status of the server's first process."""

    def stop(self) -> int:
        """Send SIGTERM to that process, wait for its end, and return its exit status."""

    def logs(self) -> tuple[str, str]:
        """What it has written to its standard output and to its standard error."""

    def left(self) -> list[str] | None:
        """Files that it made or changed in its root; None where the engine has kept it from that."""


class Engine:
    """A container of docker or podman, which is created and not yet started."""

    def __init__(self, tool: str, name: str) -> None:
        self._tool, self._name = tool, name
        self.started = time.monotonic()
        output([tool, "start", name])

    def execute(self, command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command in it as its user."""
        whole = [self._tool, "exec", "--interactive", self._name, *command]
        return subprocess.run(whole, input=given, capture_output=True)

    def process(self) -> str:
        """The lines of /proc/1/status."""
        return self.execute(["cat", "/proc/1/status"]).stdout.decode()

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        output([self._tool, "kill", "--signal", "TERM", self._name])
        return int(output([self._tool, "wait", self._name]))

    def logs(self) -> tuple[str, str]:
        """What it has written to its standard output and to its standard error."""
        told = subprocess.run([self._tool, "logs", self._name], capture_output=True, text=True)
        return told.stdout, told.stderr

    def left(self) -> None:
        """The engine has kept it from that."""


class Buildah:
    """A working container of buildah in which the server is a process that this one has started."""

    def __init__(self, name: str, command: Sequence[str], out: IO[bytes], err: IO[bytes]) -> None:
        self._name, self._out, self._err = name, out, err
        self._root = Path(output(["buildah", "mount", name]).strip())
        self._since, self.started = time.time(), time.monotonic()
        self._server = subprocess.Popen(command, stdout=out, stderr=err)

    def execute(self, command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command beside the server."""
        return subprocess.run(["buildah", "run", self._name, "--", *command], input=given, capture_output=True)

    def process(self) -> str:
        """The lines of its status, from outside."""
        return Path(f"/proc/{self._pid()}/status").read_text()

    def stop(self) -> int:
        """Send SIGTERM to the server itself, as buildah passes on none, and return the status that buildah passes."""
        os.kill(self._pid(), signal.SIGTERM)
        return self._server.wait(PATIENCE)

    def logs(self) -> tuple[str, str]:
        """What it has written to its standard output and to its standard error."""
        return Path(self._out.name).read_text(), Path(self._err.name).read_text()

    def left(self) -> list[str]:
        """Files in the root that are newer than the start; what is mounted on it is not looked at."""
        found = output(["find", str(self._root), "-xdev", "-type", "f", "-newermt", f"@{self._since}"]).split()
        return [str(Path("/", Path(name).relative_to(self._root))) for name in found]

    def kill(self) -> None:
        """End whatever is left of it."""
        for pid in reversed(self._below()):
            os.kill(pid, signal.SIGKILL)
        self._server.wait()

    def _pid(self) -> int:
        """The first process below buildah's own that has become BentoML."""
        for pid in self._below():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "bentoml":
                return pid
        raise ContainerError("no process of BentoML runs")

    def _below(self) -> list[int]:
        """buildah's process and all that it started, and those started."""
        below = [self._server.pid] if self._server.poll() is None else []
        for pid in below:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                below.extend(map(int, (thread / "children").read_text().split()))
        return below


@contextmanager
def running(backend: str, image: str) -> Iterator[Container]:
    """A container that has just been started, and is removed in the end. Raises ContainerError."""
    with _in_buildah(image) if backend == "buildah" else _in_engine(backend, image) as container:
        yield container


@contextmanager
def _in_engine(tool: str, image: str) -> Iterator[Container]:
    name = output([tool, "create", *CONFINED, *NO_NEW, *ALONE[tool], "--env", "ALEXNET_WORKERS=2", image]).strip()
    try:
        yield Engine(tool, name)
    finally:
        output([tool, "rm", "--force", name])


@contextmanager
def _in_buildah(image: str) -> Iterator[Container]:
    # Its network is this machine's, and another server's answers would be taken for its own.
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise ContainerError(f"port {PORT} is in use; stop the server there")
    name = output(["buildah", "from", "--pull-never", image]).strip()
    config = inspected("buildah", image)
    options = ["--cap-drop", "ALL", "--mount", "type=tmpfs,destination=/tmp", "--env", "ALEXNET_WORKERS=2"]
    command = ["buildah", "run", *options, name, "--", *config["Entrypoint"], *config["Cmd"]]
    try:
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            container = Buildah(name, command, out, err)
            try:
                yield container
            finally:
                container.kill()
    finally:
        output(["buildah", "rm", name])


def inspected(backend: str, image: str) -> dict[str, Any]:
    """The image's configuration, in the words of Docker's format: User, Entrypoint, Cmd, Healthcheck."""
    if backend == "buildah":
        document = json.loads(output(["buildah", "inspect", "--type", "image", image]))
        return dict(document["Docker"]["config"])
    (document,) = json.loads(output([backend, "image", "inspect", image]))
    # podman has it beside the rest.
    return {"Healthcheck": document.get("Healthcheck"), **document["Config"]}


def megabytes(backend: str, image: str) -> float:
    """An image's size, not compressed, in units of 1,000,000 bytes."""
    if backend != "buildah":
        return int(output([backend, "image", "inspect", "--format", "{{.Size}}", image])) / 1e6
    (found,) = json.loads(output(["buildah", "images", "--json", image]))
    number, unit = found["size"].split()
    return float(number) * {"MB": 1, "GB": 1000}[unit]


def output(command: Sequence[str]) -> str:
    """What a command prints. Raises ContainerError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ContainerError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout
