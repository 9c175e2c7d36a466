"""The bundle: one directory that holds a model and describes it; the contract between export and service.

`bundle.json` names every other file with its size and SHA-256, so a changed, missing or added file is noticed. The
version of a bundle is the hash of its `bundle.json`. Reading needs no onnx and no torch.
"""

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.files import sync_directory, write_atomically

FORMAT_VERSION = 2  # since 2 with `energy_threshold` and `calibration_error`; 1 is still read
MANIFEST = "bundle.json"
MODEL, WEIGHTS, SELFCHECK = "model.onnx", "weights.safetensors", "selfcheck.npz"
# The BentoML model store puts its own description beside a stored bundle.
STORE_FILES = frozenset({"model.yaml"})
# A manifest of 1,000 classes is 30 KB; a larger file is none of ours.
MANIFEST_LIMIT = 4 << 20


class Outputs(NamedTuple):
    """What the graph gives for N pictures: float32 logits [N, K] and probabilities [N, K]."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class BundleError(Exception):
    """The directory is not a bundle that can be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    directory: Path
    sha256: str  # of bundle.json, which holds the hashes of all other files
    document: Mapping[str, Any]  # bundle.json as it is

    @property
    def name(self) -> str:
        """The model's name, e.g. alexnet-cifar10."""
        return str(self.document["name"])

    @property
    def version(self) -> str:
        """The first 12 hex digits of the bundle's hash."""
        return self.sha256[:12]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(self.document["classes"])

    @property
    def energy_threshold(self) -> float | None:
        """Pictures whose logits have more energy than this are unknown; None where the bundle cannot tell."""
        return self.document.get("energy_threshold")

    @property
    def size(self) -> int:
        """Side of an input picture in pixels."""
        return int(self.document["input"]["size"])

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return int(self.document["input"]["channels"])

    def load(self, name: str) -> bytes:
        """The content of a listed file, hashed after reading: what is returned is what was promised."""
        content = (self.directory / name).read_bytes()
        _check_hash(name, len(content), hashlib.sha256(content).hexdigest(), self.document["files"][name])
        return content


def read(directory: Path) -> Bundle:
    """Verify a bundle: every file present, unchanged and listed. Raises BundleError."""
    try:
        manifest = (directory / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{directory} is not a bundle: {MANIFEST} cannot be read ({error.strerror})") from error
    if len(manifest) > MANIFEST_LIMIT:
        raise BundleError(f"{directory / MANIFEST} is larger than any bundle's manifest ({len(manifest):,} bytes)")
    try:
        document = json.loads(manifest)
    except ValueError as error:
        raise BundleError(f"{directory / MANIFEST} is not JSON: {error}") from error
    _check_document(directory / MANIFEST, document)
    _check_files(directory, document["files"])
    return Bundle(directory, hashlib.sha256(manifest).hexdigest(), document)


def write(directory: Path, document: Mapping[str, Any], contents: Mapping[str, bytes]) -> Bundle:
    """Write a whole bundle, or nothing; an older bundle at `directory` is replaced.

    `document` is bundle.json without `format_version` and `files`. Raises BundleError where `directory` holds
    something other than a bundle.
    """
    if directory.exists() and not (directory / MANIFEST).exists() and any(directory.iterdir()):
        raise BundleError(f"{directory} exists and is not a bundle; it is not overwritten, choose another --out")
    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(contents.items())
    }
    whole = {**document, "format_version": FORMAT_VERSION, "files": files}
    manifest = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        for name, content in {**contents, MANIFEST: manifest}.items():
            write_atomically(fresh / name, content)
        read(fresh)
        if directory.exists():
            directory.replace(old)
        try:
            fresh.replace(directory)
        except BaseException:
            if old.exists():
                old.replace(directory)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_directory(directory.parent)
    return read(directory)


def _check_document(path: Path, document: Any) -> None:
    def refuse(reason: str) -> None:
        raise BundleError(f"{path}: {reason}")

    if not isinstance(document, dict) or not isinstance(document.get("format_version"), int):
        refuse("there is no format_version; this is not a bundle")
    if document["format_version"] > FORMAT_VERSION:
        refuse(
            f"bundle format {document['format_version']} is newer than {FORMAT_VERSION}, the newest this version "
            "reads; update alexnet-service"
        )
    expected = {"name": str, "classes": list, "input": dict, "temperature": float, "variants": dict, "files": dict}
    for key, kind in expected.items():
        if not isinstance(document.get(key), kind):
            refuse(f"{key!r} is missing or not of type {kind.__name__}")
    if not _is_threshold(document.get("energy_threshold", None if document["format_version"] == 1 else "missing")):
        refuse("'energy_threshold' must be a finite number, or null where there is none")
    classes = document["classes"]
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(isinstance(name, str) for name in classes):
        refuse("'classes' must be two or more different names")
    contract = document["input"]
    if not isinstance(contract.get("size"), int) or contract["size"] < 1 or contract.get("channels") not in (1, 3):
        refuse("'input' needs a size in pixels and 1 or 3 channels")
    for name in (MODEL, WEIGHTS, SELFCHECK):
        if name not in document["files"]:
            refuse(f"'files' does not list {name}")


def _is_threshold(value: Any) -> bool:
    # JSON has no NaN, but Python reads one, and no energy is above it.
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _check_files(directory: Path, files: Mapping[str, Any]) -> None:
    for name, expected in files.items():
        path = directory / name
        if name in {"", ".", ".."} or any(mark in name for mark in "/\\:\0"):
            raise BundleError(f"{directory / MANIFEST} lists {name!r}, which is not a plain file name")
        if path.is_symlink() or not path.is_file():
            state = "is a symbolic link, not a file" if path.is_symlink() else "is missing"
            raise BundleError(f"{path} {state}")
        with path.open("rb") as file:
            _check_hash(str(path), path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest(), expected)
    unlisted = {entry.name for entry in directory.iterdir()} - set(files) - STORE_FILES - {MANIFEST}
    if unlisted:
        raise BundleError(f"{directory / min(unlisted)} is not listed in {MANIFEST}")


def _check_hash(name: str, size: int, sha256: str, expected: Any) -> None:
    if not isinstance(expected, dict) or (size, sha256) != (expected.get("bytes"), expected.get("sha256")):
        raise BundleError(f"{name} differs from the size or SHA-256 in {MANIFEST}: it was changed or damaged")
