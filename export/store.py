"""Bundles in the BentoML model store: `alexnet:<first 12 hex digits of the bundle's hash>`.

A version is made whole in a directory beside the store and moved in by one rename; then `latest` is replaced, the file
in which BentoML keeps what a plain `bentoml serve` loads. Killed at whatever point, the store has every version it had,
perhaps the new one, and no part of one, which would make BentoML refuse to list any.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore

from export import bundle
from export.bundle import Bundle
from training.files import sync_directory, write_atomically

NAME = "alexnet"
LATEST = "latest"
DESCRIPTION = "model.yaml"
SCRATCH = ".alexnet-store."
ABANDONED_SECONDS = 3600  # to copy a bundle takes seconds: whoever began so long ago was killed


def root() -> Path:
    """Where the store is: one directory a name, in it one directory a version."""
    return Path(BentoMLContainer.model_store.get()._path)


def place(tag: str) -> Path:
    """Where the version NAME:VERSION is, or would be."""
    return root().joinpath(*tag.split(":"))


def put(source: Bundle, name: str = NAME) -> str:
    """Store a bundle, make it the latest and return its tag; a damaged copy is replaced.

    One that is stored already is left alone, and what is the latest stays it. Raises BundleError where the source
    changes while it is copied, OSError and BentoMLException where it cannot be stored; the store is then as it was.
    """
    tag = f"{name}:{source.version}"
    if _is_stored(tag, source):
        return tag
    with _scratch() as scratch:
        fresh, target = _written(source, tag, scratch), place(tag)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not _is_stored(tag, source):
            target.rename(scratch / "damaged")
        fresh.rename(target)
        sync_directory(target.parent)
        _point(name, source.version, scratch)
    return tag


def use(tag: str) -> None:
    """Make a stored version, by its exact tag, the latest of its name, if it is whole. Raises as `get` does."""
    get(tag)
    name, _, version = tag.partition(":")
    with _scratch() as scratch:
        _point(name, version, scratch)


def get(tag: str) -> Bundle:
    """The stored bundle, verified. Asks no network. Raises bentoml.exceptions.NotFound or BundleError."""
    return bundle.read(Path(bentoml.models.get(tag).path))


def _is_stored(tag: str, source: Bundle) -> bool:
    try:
        return get(tag).sha256 == source.sha256
    except Exception:  # there is none, or one so damaged that BentoML, YAML or cattrs raise what they like
        return False


def _written(source: Bundle, tag: str, scratch: Path) -> Path:
    """The whole version in a store of its own; what it is, BentoML itself writes down."""
    with bentoml.models.create(
        tag, labels=_labels(source), metadata=_metadata(source), _model_store=ModelStore(scratch)
    ):
        pass
    fresh = scratch.joinpath(*tag.split(":"))
    # Once more, because BentoML does not wait for the disk.
    write_atomically(fresh / DESCRIPTION, (fresh / DESCRIPTION).read_bytes())
    for file in (bundle.MANIFEST, *source.document["files"]):
        write_atomically(fresh / file, source.load(file))
    bundle.read(fresh)
    return fresh


def _point(name: str, version: str, scratch: Path) -> None:
    """Let `latest` name this version, in one step."""
    write_atomically(scratch / LATEST, version.encode())
    (scratch / LATEST).replace(root() / name / LATEST)
    sync_directory(root() / name)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory to write in, where a rename into the store is one step: on the same disk, and not in the store.

    BentoML takes every directory in the store for a model.
    """
    home = root().resolve().parent
    for left in home.glob(f"{SCRATCH}*"):
        with suppress(FileNotFoundError):  # another process is quicker
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=SCRATCH) as scratch:
        yield Path(scratch)


def _labels(source: Bundle) -> dict[str, str]:
    """What `bentoml models list` can show and choose by: strings; without those that nobody knows."""
    data, accuracy = source.document["data"], source.document["accuracy"].get("test")
    known = {"dataset": data and str(data["name"]), "accuracy": accuracy is not None and f"{accuracy:.4f}"}
    return {"name": source.name, **{label: value for label, value in known.items() if value}}


def _metadata(source: Bundle) -> dict[str, Any]:
    return {
        "sha256": source.sha256,
        "network": source.document.get("network") or "",
        "classes": list(source.classes),
        "input": dict(source.document["input"]),
        "accuracy": dict(source.document["accuracy"]),
        "variants": sorted(source.document["variants"]),
    }
