"""From a bundle to a running server, a Bento or an image: each stores the bundle first and names its exact tag."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bentoml
import yaml
from bentoml.exceptions import BentoMLException

from export import bundle, store
from export.bundle import Bundle
from service.flavours import BENTOFILE, PROJECT, description
from service.model import VARIABLE
from service.settings import from_environment

BENTOML = (sys.executable, "-m", "bentoml")
CONSTRAINTS, FINISH = Path("constraints.txt"), Path("deploy/image")
# Only Docker's own format of images has a HEALTHCHECK. What is built upon is here already.
BACKENDS = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build", "--format", "docker", "--pull=never"),
    "buildah": ("buildah", "build", "--format", "docker", "--pull=never"),
}


class LaunchError(Exception):
    """The server, Bento or image cannot be made; the message says why."""


def stored(model: str) -> str:
    """The exact tag of `model`: a bundle's directory, which is verified and stored, or a tag that is in the store."""
    found = opened(model)
    return store.put(found) if Path(model).is_dir() else str(bentoml.models.get(model).tag)


def opened(model: str) -> Bundle:
    """The bundle in a directory, or that of a tag in the store, verified. Raises LaunchError and BundleError."""
    if Path(model).is_dir():
        return bundle.read(Path(model))
    try:
        return store.get(model)
    except (BentoMLException, ValueError) as error:  # ValueError where the tag is malformed
        raise LaunchError(f"{model} is neither a bundle's directory nor a model in the BentoML store") from error


def serve(model: str, port: int) -> None:
    """Become `bentoml serve` of `model` on `port`; returns never. Raises SettingsError for wrong variables."""
    from_environment(os.environ)  # which says what is wrong before anything is stored
    tag = stored(model)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - the address that BentoML takes
        except OSError as error:
            raise LaunchError(
                f"port {port} cannot be used ({error.strerror}); choose another, e.g. PORT=3001"
            ) from error
    print(f"serving {tag} on http://localhost:{port}", flush=True)
    command = [*BENTOML, "serve", "service.service:AlexNetService", "--port", str(port)]
    os.execve(command[0], command, _environment(tag))


def build_bento(model: str, flavour: str = "gpu", added: Sequence[str] = ()) -> str:
    """Build a Bento of that flavour, with those extras and `model` inside; returns its tag.

    To be called in the repository's root.
    """
    if not (BENTOFILE.is_file() and PROJECT.is_file()):
        raise LaunchError(f"there is no {BENTOFILE} here; go to the repository's root")
    # The versions that CI has tested are those that are locked.
    variables = _environment(stored(model)) | {"UV_CONSTRAINT": str(CONSTRAINTS.resolve())}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as bentofile:
        yaml.safe_dump(description(flavour, added), bentofile)
        bentofile.flush()
        command = [*BENTOML, "build", "--bentofile", bentofile.name, "--output", "tag", "."]
        built = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        raise LaunchError("bentoml build failed; its message is above")
    return built.stdout.strip().rpartition("__tag__:")[2]


def build_image(model: str, backend: str, flavour: str = "gpu", added: Sequence[str] = ()) -> str:
    """Build a Bento and a container image of it; returns the image's name, which ends in the flavour."""
    bento = build_bento(model, flavour, added)
    _run([*BENTOML, "containerize", bento, "--backend", backend, "--image-tag", bento])
    image = f"{bento.partition(':')[0]}:{flavour}"
    _run([*BACKENDS[backend], "--build-arg", f"BENTO={bento}", "--tag", image, str(FINISH)])
    return image


def _run(command: list[str]) -> None:
    if subprocess.run(command, env=_environment(None)).returncode:
        raise LaunchError(f"{' '.join(command)} failed; its message is above")


def _environment(tag: str | None) -> dict[str, str]:
    chosen = {VARIABLE: tag} if tag else {}
    return {**os.environ, "BENTOML_DO_NOT_TRACK": "True", **chosen}
