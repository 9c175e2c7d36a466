"""A bundle of a few bytes that the reader takes: no network is in it, and nobody trained."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export import bundle, manifest, selfcheck
from export.bundle import Bundle

CLASSES = ["cat", "dog", "frog"]
SIZE = 4


def document(**changes: Any) -> dict[str, Any]:
    """What a little bundle says of itself, without format version and files."""
    return {
        "name": "alexnet-pets",
        "network": "compact",
        "classes": CLASSES,
        "input": manifest.input_contract(SIZE, 3),
        "outputs": manifest.OUTPUTS,
        "temperature": 1.0,
        "energy_threshold": None,
        "calibration_error": None,
        "accuracy": {"test": 0.75, "validation": 0.8},
        "data": {"name": "pets", "fit": 90, "validation": 10, "test": 20},
        "variants": {"fp32": {"file": bundle.MODEL, "accuracy": 0.75}},
        "provenance": {"checkpoint_sha256": hashlib.sha256(b"weights").hexdigest(), "opset": 20},
        **changes,
    }


def stored_check(count: int = 2, classes: int = len(CLASSES), size: int = SIZE) -> bytes:
    """A self-check of `count` black pictures for which every class is as probable as the next."""
    logits = np.zeros((count, classes), np.float32)
    shares = np.full((count, classes), 1 / classes, np.float32)
    return selfcheck.encode(np.zeros((count, size, size, 3), np.uint8), logits, shares)


def contents(**changes: bytes) -> dict[str, bytes]:
    """The files of a little bundle; the graph is none, which only ONNX Runtime would notice."""
    return {bundle.MODEL: b"graph", bundle.WEIGHTS: b"weights", bundle.SELFCHECK: stored_check(), **changes}


def little(directory: Path, **changes: Any) -> Bundle:
    """Write a little bundle at `directory`, with some entries of its manifest changed."""
    return bundle.write(directory, document(**changes), contents())


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change bundle.json in place."""
    path = directory / bundle.MANIFEST
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def put(directory: Path, name: str, content: bytes) -> None:
    """Put a file into a bundle, or change one, and promise just that in bundle.json: as an attacker would."""
    (directory / name).write_bytes(content)
    promise = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(directory, lambda found: found["files"].update({name: promise}))
