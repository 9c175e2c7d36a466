"""Which model is served: one exact tag, found in the local store alone, the same for packing and for serving."""

import os
from pathlib import Path

import bentoml
import yaml
from bentoml.exceptions import BentoMLException

from export.store import NAME

VARIABLE = "ALEXNET_MODEL"


def resolve_tag(wanted: str | None) -> str:
    """The exact tag to serve: what this Bento was built with, else `wanted`, else the latest.

    The tag is put into the environment, so that worker processes serve what their parent chose. Raises
    BentoMLException with a message of one line; never asks the network, as BentoML itself would.
    """
    pinned = _pinned_tag(Path(__file__).resolve().parents[1])
    if pinned and wanted and wanted != pinned:
        raise BentoMLException(f"this Bento was built with {pinned}; it cannot serve {VARIABLE}={wanted}")
    asked = pinned or wanted or f"{NAME}:latest"
    try:
        tag = str(bentoml.models.get(asked).tag)
    except (BentoMLException, ValueError):  # ValueError where the tag is malformed
        raise BentoMLException(
            f"there is no model {asked} in the BentoML store: run `make serve`, which stores the shipped one, or "
            "`make export` for one of your own"
        ) from None
    os.environ[VARIABLE] = tag
    return tag


def _pinned_tag(source: Path) -> str | None:
    """The model that a built Bento names, where `source` is the `src` folder of one.

    `bentoml serve BENTO` on a machine whose store has a newer model would otherwise serve that one.
    """
    description = source.parent / "bento.yaml"
    if source.name != "src" or not description.is_file():
        return None
    document = yaml.safe_load(description.read_text(encoding="utf-8"))
    models = [model for part in (document, *document.get("services", [])) for model in part.get("models", [])]
    tags = {model["tag"] for model in models if model["tag"].startswith(f"{NAME}:")}
    if len(tags) != 1:
        raise BentoMLException(f"{description} names {len(tags)} models called {NAME}, not one; build the Bento again")
    return str(tags.pop())
