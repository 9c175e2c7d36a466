"""From a bundle to the command that serves it or packs it."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
import yaml

from export import store
from export.bundle import Bundle, BundleError
from service import flavours, launch
from service.__main__ import main
from service.launch import LaunchError
from service.settings import SettingsError
from tests.conftest import ROOT

BENTOML = [sys.executable, "-m", "bentoml"]


class Replaced(BaseException):
    """This process would now be another program."""

    def __init__(self, path: str, command: list[str], environment: dict[str, str]) -> None:
        super().__init__(path)
        self.path, self.command, self.environment = path, command, environment


@pytest.fixture(autouse=True)
def no_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.execve raises what it was given."""

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        raise Replaced(path, command, environment)

    monkeypatch.setattr("os.execve", execve)


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - the address that BentoML takes
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tag_of(bundle: Bundle) -> str:
    return f"alexnet:{bundle.version}"


def test_a_directory_is_stored_under_the_hash_of_its_bundle(tiny_bundle: Bundle) -> None:
    assert launch.stored(str(tiny_bundle.directory)) == tag_of(tiny_bundle)
    assert store.get(tag_of(tiny_bundle)).sha256 == tiny_bundle.sha256


def test_storing_a_directory_twice_gives_the_same_one_model(tiny_bundle: Bundle) -> None:
    assert launch.stored(str(tiny_bundle.directory)) == launch.stored(str(tiny_bundle.directory))
    assert [str(model.tag) for model in bentoml.models.list("alexnet")].count(tag_of(tiny_bundle)) == 1


def test_a_tag_of_the_store_is_taken_as_it_is(tiny_bundle: Bundle) -> None:
    assert launch.stored(store.put(tiny_bundle)) == tag_of(tiny_bundle)


@pytest.mark.parametrize("model", ["nonsense", "alexnet:cccccccccccc", "models/none", "a b", "a b:c", "::"])
def test_what_is_neither_directory_nor_tag_is_refused(model: str) -> None:
    with pytest.raises(LaunchError) as refusal:
        launch.stored(model)
    assert str(refusal.value) == f"{model} is neither a bundle's directory nor a model in the BentoML store"


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: bundle\.json is missing"):
        launch.stored(str(tmp_path))


def test_a_damaged_bundle_is_refused_and_not_stored(tiny_bundle: Bundle, tmp_path: Path) -> None:
    damaged = shutil.copytree(tiny_bundle.directory, tmp_path / "damaged")
    (damaged / "curves.png").write_bytes(b"other")
    before = bentoml.models.list("alexnet")
    with pytest.raises(BundleError, match=r"curves\.png differs"):
        launch.stored(str(damaged))
    assert bentoml.models.list("alexnet") == before


def test_serving_becomes_bentoml_with_the_exact_tag(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALEXNET_MODEL", "alexnet:another")
    monkeypatch.setenv("ALEXNET_ENGINE", "onnx-cpu")
    port = free_port()
    with pytest.raises(Replaced) as replaced:
        launch.serve(str(tiny_bundle.directory), port)

    assert replaced.value.path == sys.executable
    assert replaced.value.command == [*BENTOML, "serve", "service.service:AlexNetService", "--port", str(port)]
    environment = replaced.value.environment
    assert environment["ALEXNET_MODEL"] == tag_of(tiny_bundle)
    assert environment["ALEXNET_ENGINE"] == "onnx-cpu"
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert capsys.readouterr().out == f"serving {tag_of(tiny_bundle)} on http://localhost:{port}\n"


def test_a_wrong_setting_is_refused_before_anything_is_stored(
    tiny_bundle: Bundle, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_MAX_BATCH", "many")
    with pytest.raises(SettingsError, match=r"^ALEXNET_MAX_BATCH='many' is not a whole number from 1 to 1024$"):
        launch.serve(str(tiny_bundle.directory), free_port())
    assert list(own_store.iterdir()) == []


def test_a_port_in_use_is_refused_with_the_variable_that_changes_it(tiny_bundle: Bundle, busy_port: int) -> None:
    with pytest.raises(
        LaunchError, match=rf"^port {busy_port} cannot be used \(.+\); choose another, e\.g\. PORT=3001"
    ):
        launch.serve(str(tiny_bundle.directory), busy_port)


@pytest.mark.parametrize("port", ["-1", "65536", "99999999999"])
def test_a_number_that_is_no_port_is_refused_in_one_line(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        sys.exit(main(["serve", "--model", str(tiny_bundle.directory), "--port", port]))
    assert exit_.value.code in (1, 2)
    assert port in capsys.readouterr().err.splitlines()[-1]


def test_a_refusal_is_one_line_and_status_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "nonsense"]) == 1
    assert capsys.readouterr().err == (
        "error: nonsense is neither a bundle's directory nor a model in the BentoML store\n"
    )


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str | None]]:
    """The commands that were run, each with its ALEXNET_MODEL; none is really run, and `build` gives a tag."""
    commands: list[tuple[list[str], str | None]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append((command, env.get("ALEXNET_MODEL")))
        return subprocess.CompletedProcess(command, 0, stdout="__tag__:alexnet:packed\n")

    monkeypatch.delenv("ALEXNET_MODEL", raising=False)
    monkeypatch.setattr("subprocess.run", run)
    return commands


def test_a_bento_is_built_with_the_exact_tag(tiny_bundle: Bundle, commands: list[tuple[list[str], str | None]]) -> None:
    assert launch.build_bento(str(tiny_bundle.directory)) == "alexnet:packed"
    assert [model for _, model in commands] == [tag_of(tiny_bundle)]
    assert commands[0][0][:4] == [*BENTOML, "build"]


def test_the_versions_that_ci_has_tested_are_locked(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 0, stdout="__tag__:alexnet:packed\n")

    monkeypatch.setattr("subprocess.run", run)
    launch.build_bento(str(tiny_bundle.directory))
    assert Path(seen["UV_CONSTRAINT"]) == ROOT / "constraints.txt"


@pytest.mark.parametrize(("flavour", "added"), [("gpu", ()), ("cpu", ()), ("cpu", ("torch", "openvino"))])
def test_bentoml_is_given_the_description_of_the_flavour(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, flavour: str, added: tuple[str, ...]
) -> None:
    given: list[Any] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        given.append(yaml.safe_load(Path(command[command.index("--bentofile") + 1]).read_text()))
        return subprocess.CompletedProcess(command, 0, stdout="__tag__:alexnet:packed\n")

    monkeypatch.setattr("subprocess.run", run)
    launch.build_bento(str(tiny_bundle.directory), flavour, added)
    assert given == [flavours.description(flavour, added)]


@pytest.mark.parametrize("backend", launch.BACKENDS)
def test_an_image_is_made_of_the_bento_that_was_built_and_finished(
    tiny_bundle: Bundle, commands: list[tuple[list[str], str | None]], backend: str
) -> None:
    assert launch.build_image(str(tiny_bundle.directory), backend, "cpu") == "alexnet:cpu"
    (_, _), (containerize, _), (finish, _) = commands
    assert containerize[:5] == [*BENTOML, "containerize", "alexnet:packed"]
    assert containerize[containerize.index("--backend") + 1] == backend
    assert finish[:2] == [backend, "build"]
    assert finish[-5:] == ["--build-arg", "BENTO=alexnet:packed", "--tag", "alexnet:cpu", "deploy/image"]


@pytest.mark.parametrize(
    ("fallback", "openvino", "added"),
    [("", "", ()), ("torch", "", ("torch",)), ("", "1", ("openvino",)), ("torch", "1", ("torch", "openvino"))],
)
def test_the_words_of_make_image_reach_the_build(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fallback: str, openvino: str, added: object
) -> None:
    def build(*given: object) -> str:
        built.append(given)
        return "alexnet:cpu"

    built: list[object] = []
    monkeypatch.setattr(launch, "build_image", build)
    words = ["--model", "a-bundle", "--flavour", "cpu", "--backend", "buildah"]
    assert main(["image", *words, "--fallback", fallback, "--openvino", openvino]) == 0
    assert capsys.readouterr().out == "image: alexnet:cpu\n"
    assert built == [("a-bundle", "buildah", "cpu", added)]


def test_a_bento_is_built_in_the_repository_alone(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match=r"^there is no bentofile\.yaml here; go to the repository's root$"):
        launch.build_bento(str(tiny_bundle.directory))


def test_a_failed_build_is_refused(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 1, stdout="")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    with pytest.raises(LaunchError, match="bentoml build failed"):
        launch.build_bento(str(tiny_bundle.directory))


@pytest.mark.parametrize("failing", ["containerize", "deploy/image"])
def test_an_image_that_cannot_be_made_is_refused_with_the_command(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, failing in command, stdout="__tag__:alexnet:packed\n")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(LaunchError, match=rf"{failing}.* failed; its message is above$"):
        launch.build_image(str(tiny_bundle.directory), "podman")
