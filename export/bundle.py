"""The bundle: one directory that holds a model and describes it; the contract between export and service.

`bundle.json` names every other file with its size and SHA-256, so a changed, missing or added file is noticed. The
version of a bundle is the hash of its `bundle.json`. Reading needs no onnx and no torch, follows no link, and what
`load` returns are the very bytes that were hashed: whatever happens to the files meanwhile, nothing else is served.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export import external, manifest, reading, selfcheck
from training.files import sync_directory, write_atomically

# Since 3 without weights where a model was imported, since 2 with `energy_threshold` and `calibration_error`; both
# older ones are still read.
FORMAT_VERSION = 3
MANIFEST = "bundle.json"
MODEL, WEIGHTS, SELFCHECK = "model.onnx", "weights.safetensors", "selfcheck.npz"
REQUIRED = (MODEL, SELFCHECK)
FILES = {"fp32": MODEL, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
# fp32 without TF32 stays within 1e-4 on the CPU; CUDA's convolutions sum in other orders and get ten times that.
SELFCHECK_LIMIT = 1e-3
# The BentoML model store puts its own description beside a stored bundle.
STORE_FILES = frozenset({"model.yaml"})


class Outputs(NamedTuple):
    """What the graph gives for N pictures: float32 logits [N, K] and probabilities [N, K]."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


Runner = Callable[[NDArray[np.uint8]], Outputs]  # what classifies pictures uint8 [N, H, W, C]


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

    @property
    def has_weights(self) -> bool:
        """Whether PyTorch can run it too: an imported model has no checkpoint."""
        return WEIGHTS in self.document["files"]

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants of the graph that are in files: fp32, and where they passed their gates fp16 and int8."""
        return tuple(name for name in FILES if self.document["variants"].get(name, {}).get("file"))

    def preferred(self, provider: str) -> str:
        """The variant that an ONNX Runtime provider (cpu, cuda, openvino) should run; fp32 where it does not say."""
        return str(self.document.get("preferred", {}).get(provider, "fp32"))

    def load_variant(self, variant: str) -> bytes:
        """The graph of a variant. Raises BundleError where there is none."""
        if variant not in self.variants:
            raise BundleError(f"this bundle has no variant {variant}; it has: {', '.join(self.variants)}")
        return self.load(self.document["variants"][variant]["file"])

    def selfcheck_limit(self, variant: str) -> float:
        """How far a variant's outputs may be from the stored ones of fp32, on whatever processor."""
        return float(self.document["variants"][variant].get("selfcheck_limit", SELFCHECK_LIMIT))

    def load(self, name: str) -> bytes:
        """The content of a file, hashed after reading: what is returned is what was promised. Raises BundleError."""
        if name == MANIFEST:
            return _read(self.directory / name, manifest.LONGEST, self.sha256)
        promised = self.document["files"].get(name)
        if promised is None:
            raise BundleError(f"{self.directory / MANIFEST} does not list {name}")
        return _read(self.directory / name, promised["bytes"], promised["sha256"])


def describe(directory: Path) -> Bundle:
    """What a bundle says of itself; its other files are not looked at. Raises BundleError."""
    path = directory / MANIFEST
    try:
        content = reading.read(path, manifest.LONGEST)
    except ValueError as error:
        raise BundleError(f"{directory} is not a bundle: {MANIFEST} {error}") from error
    try:
        document = manifest.parse(content, newest=FORMAT_VERSION, required=REQUIRED)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error
    return Bundle(directory, hashlib.sha256(content).hexdigest(), document)


def read(directory: Path) -> Bundle:
    """Verify a bundle: every file present, unchanged and listed, and outputs for every class. Raises BundleError."""
    found = describe(directory)
    files = found.document["files"]
    for entry in directory.iterdir():
        if entry.name not in {MANIFEST, *files, *STORE_FILES} or (entry.name in STORE_FILES and not _is_file(entry)):
            raise BundleError(f"{directory}: {entry.name!r} is not listed in {MANIFEST}")
    for name in sorted(files):
        content = found.load(name)
        if name == SELFCHECK:
            _check_outputs(found, content)
        if name.endswith(".onnx") and external.is_named(content):
            raise BundleError(f"{directory / name} keeps weights in another file (external data), which has no hash")
    return found


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
    described = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        for name, content in {**contents, MANIFEST: described}.items():
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


def _read(path: Path, most: int, sha256: str) -> bytes:
    try:
        content = reading.read(path, most)
    except ValueError as error:
        raise BundleError(f"{path} {error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{path} differs from what {MANIFEST} promised: it was changed or damaged")
    return content


def _check_outputs(found: Bundle, content: bytes) -> None:
    try:
        selfcheck.check(content, size=found.size, channels=found.channels, classes=len(found.classes))
    except ValueError as error:
        raise BundleError(f"{found.directory / SELFCHECK} {error}") from error


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
