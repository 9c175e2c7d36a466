"""Behind nginx, another version of the model takes the place of one, and goes again, and no request is lost."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from export.bundle import Bundle
from tests.conftest import ROOT
from tests.e2e.server import PATIENCE, SERVICE, Server, another, environment, free_port, running

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")
UPSTREAM, LISTEN = "server alexnet:3000", "listen 8080;"
PAUSE = 0.1  # seconds between two requests of a client: four of them stay below the proxy's limit of 50 a second

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian's package nginx-light)")


@dataclass
class Load:
    """What clients were told: versions in their order, and everything that was no prediction."""

    versions: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def load(url: str, picture: bytes) -> Iterator[Load]:
    """Four clients that ask without end."""
    told, stop = Load(), threading.Event()

    def client() -> None:
        with httpx.Client(timeout=PATIENCE, trust_env=False) as connection:
            while not stop.wait(PAUSE):
                try:
                    answer = connection.post(f"{url}/classify", content=picture, headers={"content-type": "image/jpeg"})
                    answer.raise_for_status()
                    told.versions.append(answer.json()["model"]["version"])
                except httpx.HTTPError as error:
                    told.failed.append(repr(error))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        yield told
    finally:
        stop.set()
        for thread in clients:
            thread.join()


@contextmanager
def proxy(folder: Path, replicas: Sequence[int]) -> Iterator[str]:
    """nginx with deploy/nginx.conf in front of servers on these ports of this machine."""
    port, text = free_port(), (ROOT / "deploy" / "nginx.conf").read_text()
    (line,) = [line.strip() for line in text.splitlines() if line.strip().startswith(UPSTREAM)]
    servers = "\n".join(line.replace("alexnet:3000", f"127.0.0.1:{replica}") for replica in replicas)
    text = text.replace(line, servers).replace(LISTEN, f"listen 127.0.0.1:{port};").replace("/tmp/", f"{folder}/")  # noqa: S108
    (folder / "nginx.conf").write_text(text)
    # Who is root here has folders that no other user may enter.
    own = "daemon off; user root;" if os.getuid() == 0 else "daemon off;"
    assert NGINX is not None
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), "-g", own]
    with (folder / "access.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Replica:
    """A place behind the proxy, where one server runs after the other."""

    def __init__(self, port: int, home: Path, stack: ExitStack) -> None:
        self.port, self._home, self._server = port, home, stack.enter_context(ExitStack())

    def serve(self, bundle: Bundle) -> Server:
        """Stop the server there, as a rolling update does, and begin one of this bundle."""
        self._server.close()
        env = environment(self._home, ALEXNET_ENGINE="onnx-cpu", ALEXNET_WORKERS="1")
        command = [*SERVICE, "serve", "--model", str(bundle.directory)]
        log = self._home.parent / f"server-{self.port}.log"
        return self._server.enter_context(running(command, env, log, port=self.port))


def wait_until_used(url: str, server: Server) -> None:
    """Ask the proxy until it is this server that answers."""
    own, deadline = server.processes(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = httpx.get(f"{url}/model", trust_env=False, timeout=PATIENCE)
        if answer.status_code == 200 and answer.json()["serving"]["pid"] in own:
            return
        time.sleep(PAUSE)
    raise AssertionError("the proxy does not ask that server")


def test_an_update_and_its_rollback_lose_no_request(tiny_bundle: Bundle, tmp_path: Path, cat: bytes) -> None:
    newer, places = another(tiny_bundle, tmp_path / "newer"), [free_port(), free_port()]
    with ExitStack() as stack:
        replicas = [Replica(port, tmp_path / "home", stack) for port in places]
        for replica in replicas:
            replica.serve(tiny_bundle)
        url = stack.enter_context(proxy(tmp_path, places))
        told = stack.enter_context(load(url, cat))
        marks = []
        for bundle in (newer, tiny_bundle):
            for replica in replicas:
                wait_until_used(url, replica.serve(bundle))
            marks.append(len(told.versions))
        time.sleep(10 * PAUSE)
    updated, back = marks
    assert told.failed == []
    assert set(told.versions[:updated]) == {tiny_bundle.version, newer.version}
    assert set(told.versions[updated:back]) == {tiny_bundle.version, newer.version}
    assert set(told.versions[back + 4 :]) == {tiny_bundle.version}
