"""Real processes of the service: started, waited for, asked and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from export import bundle
from export.bundle import Bundle
from tests.conftest import ROOT

# Generous: a busy machine is slow, and a server that hangs is still found.
PATIENCE = 120
SERVICE = (sys.executable, "-m", "service")
BENTOML = (sys.executable, "-m", "bentoml")
STORE = "import sys; from pathlib import Path; from export import bundle, store; "


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request over the network."""
        return httpx.request(method, self.url + path, timeout=PATIENCE, trust_env=False, **options)

    def classify(self, *files: tuple[str, bytes]) -> httpx.Response:
        """POST the named files as one form."""
        return self.ask("POST", "/classify", files=[("images", file) for file in files])

    def processes(self) -> list[int]:
        """The server's process and all that it started (Linux)."""
        found = [self.process.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            found.extend(map(int, children.split()))
        return found

    def has_loaded(self, library: str) -> bool:
        """Whether any of the processes has mapped a file whose path contains `library` (Linux)."""
        return any(library in Path(f"/proc/{pid}/maps").read_text() for pid in self.processes())


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment with a BentoML home of its own and no settings but `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ALEXNET_", "BENTOML_"))}
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **variables}


def run(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


def store(directory: Path, home: Path) -> str:
    """Put a bundle into the model store of another home; returns the tag."""
    script = f"{STORE} print(store.put(bundle.read(Path(sys.argv[1]))))"
    stored = run([sys.executable, "-c", script, str(directory)], environment(home))
    assert stored.returncode == 0, stored.stderr
    return stored.stdout.strip()


def another(source: Bundle, directory: Path) -> Bundle:
    """A bundle with the same files under another name, hence with another version."""
    document = {key: value for key, value in source.document.items() if key not in {"files", "format_version"}}
    contents = {name: source.load(name) for name in source.document["files"]}
    return bundle.write(directory, {**document, "name": "alexnet-newer"}, contents)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path = ROOT, port: int | None = None
) -> Iterator[Server]:
    """A server started with `command` and a port, or a free one; asked to stop with SIGTERM, it must exit with 0."""
    port = port or free_port()
    with log.open("wb") as output:
        # A session of its own, so that whatever is left of it in the end can be ended as one.
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=env,
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_ready(server)
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.process.poll() is None, f"the server ended:\n{server.log.read_text()}"
        try:
            if server.ask("GET", "/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the server is not ready after {PATIENCE} s:\n{server.log.read_text()}")
