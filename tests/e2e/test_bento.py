"""A Bento holds exactly the model it was built with, and serves that one wherever it is taken."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from export.bundle import Bundle
from tests.conftest import ROOT
from tests.e2e.server import BENTOML, another, environment, run, running, store

BENTOFILE = ROOT / "bentofile.yaml"

pytestmark = pytest.mark.skipif(not BENTOFILE.exists(), reason="there is no bentofile.yaml")


@dataclass(frozen=True)
class Built:
    """A Bento in a store where a newer model is the latest."""

    tag: str
    home: Path
    model: str

    @property
    def directory(self) -> Path:
        """Where the Bento is."""
        return self.home / "bentos" / self.tag.replace(":", "/")


@pytest.fixture(scope="module")
def built(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """`bentoml build` with the tiny model, after which a newer model is stored."""
    folder = tmp_path_factory.mktemp("bento")
    home = folder / "home"
    model = store(tiny_bundle.directory, home)
    description: dict[str, Any] = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    description["python"]["lock_packages"] = False  # locking asks a package registry
    bentofile = folder / "bentofile.yaml"
    bentofile.write_text(yaml.safe_dump(description), encoding="utf-8")
    command = [*BENTOML, "build", "--bentofile", str(bentofile), "--output", "tag", str(ROOT)]
    done = run(command, environment(home, ALEXNET_MODEL=model))
    assert done.returncode == 0, done.stderr
    tag = done.stdout.strip().removeprefix("__tag__:")
    newer = store(another(tiny_bundle, folder / "newer").directory, home)
    assert (home / "models" / "alexnet" / "latest").read_text() == newer.partition(":")[2]
    return Built(tag, home, model)


def test_the_bento_names_the_one_exact_model(built: Built) -> None:
    document = yaml.safe_load((built.directory / "bento.yaml").read_text())
    parts = [document, *document["services"]]
    assert {model["tag"] for part in parts for model in part.get("models", [])} == {built.model}


def files(root: Path, *patterns: str) -> set[str]:
    """Those below `root` that match one of the patterns, but for what Python has compiled."""
    found = {path.relative_to(root) for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_bento_holds_what_serves_and_the_whole_service_with_its_page_and_no_tests(built: Built) -> None:
    held = files(built.directory / "src", "**/*.py", "service/**/*")
    assert held == files(ROOT, "training/*.py", "export/*.py", "service/**/*")


@pytest.mark.parametrize("elsewhere", [True, False], ids=["elsewhere", "in-the-repository"])
def test_the_bento_serves_its_own_model_and_not_the_latest(
    built: Built, tiny_bundle: Bundle, tmp_path: Path, cat: bytes, elsewhere: bool
) -> None:
    env = environment(built.home, ALEXNET_ENGINE="onnx-cpu")
    cwd = tmp_path if elsewhere else ROOT
    with running([*BENTOML, "serve", built.tag], env, tmp_path / "server.log", cwd) as server:
        assert server.ask("GET", "/model").json()["version"] == tiny_bundle.version
        assert server.classify(("cat.jpg", cat)).json()["model"]["version"] == tiny_bundle.version


def test_the_bento_refuses_to_serve_another_model(built: Built) -> None:
    env = environment(built.home, ALEXNET_MODEL="alexnet:latest")
    refused = run([*BENTOML, "serve", built.tag], env)
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert f"this Bento was built with {built.model}" in line


def test_a_copy_of_the_bento_outside_the_store_serves_its_own_model(built: Built, tmp_path: Path) -> None:
    copy = shutil.copytree(built.directory, tmp_path / "copy")
    with running([*BENTOML, "serve", str(copy)], environment(built.home), tmp_path / "server.log", tmp_path) as server:
        assert server.ask("GET", "/model").json()["version"] == built.model.partition(":")[2]


def test_a_bento_that_carries_its_model_as_an_image_does_needs_no_store(built: Built, tmp_path: Path) -> None:
    copy = shutil.copytree(built.directory, tmp_path / "bento")
    name, _, version = built.model.partition(":")
    shutil.copytree(built.home / "models" / name / version, copy / "models" / name / version)
    (copy / "models" / name / "latest").write_text(version)
    env = environment(tmp_path / "empty", ALEXNET_ENGINE="onnx-cpu")
    with running([*BENTOML, "serve", str(copy)], env, tmp_path / "server.log", tmp_path) as server:
        assert server.ask("GET", "/model").json()["version"] == version
