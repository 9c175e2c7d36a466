"""`python -m service serve` as a real process: what clients see, and how it refuses to start."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from export.bundle import MODEL, Bundle
from tests.e2e.server import BENTOML, SERVICE, Server, environment, free_port, run, running, store
from tests.unit.fakes import encoded

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the CUDA engine runs here")


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The tiny bundle, served on the CPU; its end checks the exit status."""
    home = tmp_path_factory.mktemp("home")
    env = environment(home, ALEXNET_ENGINE="onnx-cpu")
    with running([*SERVICE, "serve", "--model", str(tiny_bundle.directory)], env, home / "server.log") as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty BentoML home."""
    return tmp_path / "home"


def ten_pictures() -> list[tuple[str, bytes]]:
    """Stripes of ten widths: the tiny network tells them apart."""
    pictures = []
    for number in range(10):
        stripe = (np.arange(32) // (number + 1) % 2 * 255).astype(np.uint8)
        pixels = np.broadcast_to(stripe if number % 2 else stripe[:, None], (32, 32))
        pictures.append((f"{number}.png", encoded(Image.fromarray(pixels).convert("RGB"), "PNG")))
    return pictures


def probabilities(prediction: dict[str, Any]) -> dict[str, float]:
    return {entry["label"]: entry["probability"] for entry in prediction["top"]}


def distance(one: dict[str, float], other: dict[str, float]) -> float:
    return max(abs(one[label] - other[label]) for label in one)


def test_a_photograph_is_classified(server: Server, tiny_bundle: Bundle, cat: bytes) -> None:
    answer = server.classify(("cat.jpg", cat))
    assert answer.status_code == 200
    assert answer.json()["model"] == {"name": tiny_bundle.name, "version": tiny_bundle.version}
    (prediction,) = answer.json()["predictions"]
    assert prediction["filename"] == "cat.jpg"
    assert prediction["label"] in tiny_bundle.classes
    assert prediction["unknown"] in (True, False)


def test_a_photograph_may_be_the_body(server: Server, cat: bytes) -> None:
    answer = server.ask("POST", "/classify", content=cat, headers={"content-type": "image/jpeg"})
    (prediction,) = answer.json()["predictions"]
    assert prediction == {**server.classify(("cat.jpg", cat)).json()["predictions"][0], "filename": None}


def test_ten_pictures_are_answered_in_their_order(server: Server) -> None:
    files = [("images", picture) for picture in ten_pictures()]
    together = server.ask("POST", "/classify?top_k=10", files=files).json()["predictions"]
    alone = [server.ask("POST", "/classify?top_k=10", files=[file]).json()["predictions"][0] for file in files]

    assert [prediction["filename"] for prediction in together] == [name for _, (name, _) in files]
    expected = [probabilities(prediction) for prediction in alone]
    for place, prediction in enumerate(together):
        distances = [distance(probabilities(prediction), other) for other in expected]
        assert distances[place] < 1e-4
        assert min(distances[:place] + distances[place + 1 :]) > 1e-3


def test_a_text_file_is_refused(server: Server) -> None:
    answer = server.classify(("notes.txt", b"milk, eggs"))
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "not a picture" in answer.json()["detail"]


def test_a_photograph_cut_short_is_refused(server: Server, cat: bytes) -> None:
    answer = server.classify(("cat.jpg", cat[: len(cat) // 2]))
    assert answer.status_code == 400
    assert "cut short" in answer.json()["detail"]


def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    answer = server.ask("POST", "/classify", content=bytes(11 << 20))
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_an_unknown_path_is_a_problem_document(server: Server) -> None:
    answer = server.ask("GET", "/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_model_is_described_with_its_engine(server: Server, tiny_bundle: Bundle) -> None:
    described = server.ask("GET", "/model").json()
    assert described["version"] == tiny_bundle.version
    assert described["classes"] == list(tiny_bundle.classes)
    engine = described["engine"]
    assert (engine["name"], engine["device"], engine["variant"]) == ("onnx-cpu", "cpu", "fp32")
    assert engine["passed_over"] == {}
    assert engine["no_fallback"] == "ALEXNET_ENGINE=onnx-cpu allows no other engine"
    assert described["serving"]["pid"] in server.processes()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_server_is_alive_after_refusals(server: Server, path: str, cat: bytes) -> None:
    assert server.classify(("empty", b"")).status_code == 400
    assert server.ask("GET", path).status_code == 200
    assert server.classify(("cat.jpg", cat)).status_code == 200


@linux
def test_pytorch_is_not_loaded_where_onnx_runtime_serves(server: Server) -> None:
    assert len(server.processes()) > 1
    assert server.has_loaded("onnxruntime")
    assert not server.has_loaded("libtorch")


@linux
def test_pytorch_serves_where_it_is_asked_for(tiny_bundle: Bundle, home: Path, tmp_path: Path, cat: bytes) -> None:
    env = environment(home, ALEXNET_ENGINE="torch-cpu")
    command = [*SERVICE, "serve", "--model", str(tiny_bundle.directory)]
    with running(command, env, tmp_path / "server.log") as server:
        assert server.classify(("cat.jpg", cat)).json()["engine"] == "torch-cpu"
        assert server.has_loaded("libtorch")


def test_an_empty_store_is_refused_in_one_line(home: Path) -> None:
    refused = run([*BENTOML, "serve", "service.service:AlexNetService"], environment(home))
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert "`make serve`" in line


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        pytest.param("onnx-cuda", "engine onnx-cuda: there is no NVIDIA driver here", marks=no_gpu),
        ("nonsense", "ALEXNET_ENGINE='nonsense' is not one of: auto, onnx-cuda"),
    ],
)
def test_an_engine_that_cannot_run_is_refused_with_its_reason(
    tiny_bundle: Bundle, home: Path, engine: str, reason: str
) -> None:
    command = [*SERVICE, "serve", "--model", str(tiny_bundle.directory), "--port", str(free_port())]
    refused = run(command, environment(home, ALEXNET_ENGINE=engine))
    assert refused.returncode != 0
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_bundle_is_refused_with_the_name_of_the_file(tiny_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(tiny_bundle.directory, tmp_path / "damaged")
    flip_a_byte(damaged / MODEL)
    refused = run([*SERVICE, "serve", "--model", str(damaged)], environment(home))
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert str(damaged / MODEL) in line


def test_a_model_that_was_damaged_in_the_store_is_refused(tiny_bundle: Bundle, home: Path) -> None:
    tag = store(tiny_bundle.directory, home)
    flip_a_byte(home / "models" / tag.replace(":", "/") / MODEL)
    refused = run([*BENTOML, "serve", "service.service:AlexNetService"], environment(home))
    assert refused.returncode != 0
    assert f"{MODEL} differs" in refused.stderr
    assert "Traceback" not in refused.stderr
