"""Two workers of the shipped model as clients see them: BentoML's client, a browser, Prometheus, and a signal."""

import json
import re
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import GOLDEN, SHIPPED
from tests.e2e.server import BENTOML, PATIENCE, SERVICE, Server, environment, run, running, store

KEY = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that ask for a key; its end checks the exit status."""
    home = tmp_path_factory.mktemp("home")
    env = environment(home, ALEXNET_ENGINE="onnx-cpu", ALEXNET_WORKERS="2", ALEXNET_API_KEY=KEY)
    with running([*SERVICE, "serve", "--model", str(SHIPPED)], env, home / "server.log") as server:
        yield server


# In a process of its own, as BentoML's client warns of its own use of pydantic where it is imported.
CLIENT = """
import json, sys
from pathlib import Path
import bentoml

url, key, *paths = sys.argv[1:]
with bentoml.SyncHTTPClient(url, token=key) as client:
    print(json.dumps(client.classify(images=[Path(path) for path in paths], top_k=1)))
"""


def test_bentomls_own_client_gets_the_answer_that_curl_gets(server: Server, tmp_path: Path) -> None:
    paths = [GOLDEN / "cat.jpg", GOLDEN / "README.md"]
    env = environment(tmp_path, NO_PROXY="*", no_proxy="*")
    asked = run([sys.executable, "-c", CLIENT, server.url, KEY, *map(str, paths)], env)
    assert asked.returncode == 0, asked.stderr
    files = [("images", (path.name, path.read_bytes())) for path in paths]
    answer = json.loads(asked.stdout)
    assert answer == server.ask("POST", "/classify?top_k=1", files=files, headers=BEARER).json()
    good, bad = answer["predictions"]
    assert (good["filename"], good["label"]) == ("cat.jpg", "cat")
    assert bad["filename"] == "README.md"


def test_nobody_gets_in_without_the_key_but_probes_and_the_page(server: Server) -> None:
    opened = {
        path: server.ask("GET", path).status_code for path in ("/livez", "/readyz", "/docs", "/docs.json", "/model")
    }
    assert opened == {"/livez": 200, "/readyz": 200, "/docs": 200, "/docs.json": 200, "/model": 401}


def answered(server: Server) -> dict[str, float]:
    """Requests to /model that Prometheus has seen of each worker."""
    text = server.ask("GET", "/metrics", headers=BEARER).text
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "alexnet_requests_total"
        and (sample.labels["route"], sample.labels["status"]) == ("/model", "200")
    }


def test_metrics_are_those_of_all_workers_whichever_is_asked(server: Server) -> None:
    before = sum(answered(server).values())
    workers: set[str] = set()
    asked = 0
    while len(workers) < 2 and asked < 500:  # which worker takes a connection is the kernel's choice
        workers.add(server.ask("GET", "/model", headers=BEARER).json()["serving"]["worker"])
        asked += 1
    assert len(workers) == 2
    found = answered(server)
    assert found.keys() == workers
    assert sum(found.values()) == before + asked


def test_every_request_gives_a_line_of_json_with_its_id(server: Server) -> None:
    answer = server.ask("GET", "/model", headers={**BEARER, "x-request-id": "find-me-1"})
    assert answer.headers["x-request-id"] == "find-me-1"
    (line,) = [line for line in server.log.read_text().splitlines() if "find-me-1" in line]
    told: dict[str, Any] = json.loads(line)
    assert (told["path"], told["status"], told["reason"]) == ("/model", 200, None)


def test_a_server_that_is_asked_to_stop_answers_what_it_has_begun(tmp_path: Path) -> None:
    env = environment(tmp_path / "home", ALEXNET_ENGINE="onnx-cpu", ALEXNET_WORKERS="1", ALEXNET_MAX_BATCH="1")
    cat = (GOLDEN / "cat.jpg").read_bytes()
    with running([*SERVICE, "serve", "--model", str(SHIPPED)], env, tmp_path / "server.log") as server:
        files = [("images", (str(number), cat)) for number in range(100)]

        def ask() -> httpx.Response:
            return httpx.post(server.url + "/classify", files=files, timeout=PATIENCE, trust_env=False)

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask)
            while not re.search(r"alexnet_queue_pictures\S+ [1-9]", server.ask("GET", "/metrics").text):
                assert not answer.done(), "it was answered before it was seen to wait"
            server.process.send_signal(signal.SIGTERM)
            labels = [prediction["label"] for prediction in answer.result().json()["predictions"]]
        assert labels == ["cat"] * 100
        assert server.process.wait(PATIENCE) == 0


def test_a_server_that_is_asked_to_stop_refuses_what_does_not_come_to_an_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    tag = store(SHIPPED, home)
    settings = {"ALEXNET_MODEL": tag, "ALEXNET_ENGINE": "onnx-cpu", "ALEXNET_WORKERS": "1"}
    env = environment(home, **settings, ALEXNET_SHUTDOWN_SECONDS="1", ALEXNET_REQUEST_SECONDS="3600")
    with (
        running([*BENTOML, "serve", "service.service:AlexNetService"], env, tmp_path / "server.log") as server,
        socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), PATIENCE) as client,
    ):
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1234")
        # The one worker has begun with the first request when it answers this one.
        assert server.ask("GET", "/model").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        with client.makefile("rb") as answer:
            told = answer.read()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"the server stops, and had no more time for this request" in told
        assert server.process.wait(PATIENCE) == 0
