"""What `make image` adds to BentoML's image fits that image, the service and Kubernetes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import yaml
from bentoml._internal.container import generate

from tests.unit.manifests import DEPLOY, manifests

DOCKERFILE = (DEPLOY / "image" / "Dockerfile").read_text()
BENTOFILE = yaml.safe_load((DEPLOY.parent / "bentofile.yaml").read_text())


def instruction(name: str) -> str:
    (found,) = re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)
    return str(found)


def test_the_base_is_the_one_that_bentoml_builds_on() -> None:
    docker = BENTOFILE["docker"]
    assert docker["distro"] == "debian"
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        "${BENTO}",
        f"python:{docker['python_version']}-slim",
    ]


def test_user_and_places_are_those_of_bentoml() -> None:
    assert instruction("USER") == f"{generate.BENTO_UID_GID}:{generate.BENTO_UID_GID}"
    assert f"BENTO_PATH={generate.BENTO_PATH} " in DOCKERFILE
    assert json.loads(instruction("ENTRYPOINT")) == [generate.expands_bento_path("env", "docker", "entrypoint.sh")]


def test_the_user_is_the_one_that_kubernetes_asks_for() -> None:
    (deployment,) = [document for document in manifests("base") if document["kind"] == "Deployment"]
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert instruction("USER") == f"{context['runAsUser']}:{context['runAsGroup']}"


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that gives this status to GET /readyz and 404 to all else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def checked(port: int) -> int:
    """The exit status of the image's health check, behind a proxy that does not exist."""
    python, *arguments = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert python == "python"
    env = {"PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_it_is_healthy_where_the_service_is_ready(status: int, healthy: bool) -> None:
    with answering(status) as port:
        assert (checked(port) == 0) is healthy


def test_it_is_not_healthy_where_nobody_answers() -> None:
    with answering(200) as port:
        pass
    assert checked(port) != 0
