"""The result as a JSON file that grows with every measurement, so that a run can be stopped and gone on with."""

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from export.bundle import Bundle
from training import device
from training.files import write_atomically
from training.provenance import git_commit, versions

FORMAT_VERSION = 1
LIBRARIES = ("bentoml", "litserve", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "numpy", "pillow")
# What a run that goes on must share with its beginning.
SAME = ("format", "model", "settings", "provenance")


class RecordError(Exception):
    """The file cannot be gone on with; the message says why and what to do."""


class Record:
    """Measurements by round; raises RecordError where `path` has some already and they are not to be gone on with."""

    def __init__(self, path: Path, head: dict[str, Any], resume: bool) -> None:
        self._path = path
        self.document = {**head, "starts": [], "loads": [], "ceiling": []}
        if not path.exists():
            return
        if not resume:
            raise RecordError(f"{path} is there already; go on with it by --resume, or name another by --out")
        before = json.loads(path.read_text(encoding="utf-8"))
        if other := [key for key in SAME if before.get(key) != head[key]]:
            raise RecordError(f"{path} has another {' and '.join(other)}; begin anew with another --out")
        self.document = before

    def has(self, kind: str, **keys: Any) -> bool:
        """Whether a measurement is there already."""
        return any(keys.items() <= one.items() for one in self.document[kind])

    def add(self, kind: str, **measured: Any) -> None:
        """Add a measurement of that kind, and write the file."""
        self.document[kind].append({key: _rounded(value) for key, value in measured.items()})
        content = json.dumps(self.document, indent=1, sort_keys=True) + "\n"
        write_atomically(self._path, content.encode())


def head(command: list[str], served: Bundle, variant: str, settings: dict[str, Any], targets: bool) -> dict[str, Any]:
    """What is known of a run before it begins."""
    commit, file = git_commit(), served.document["variants"][variant]["file"]
    return {
        "format": FORMAT_VERSION,
        "command": command,
        "targets": targets,
        "model": {
            "name": served.name,
            "version": served.version,
            "variant": variant,
            **served.document["files"][file],
        },
        "settings": settings,
        "provenance": {
            # The result itself may be among the files that are changed.
            "commit": commit and commit.removesuffix("-dirty"),
            "versions": {**_installed(), "onnxruntime": onnxruntime.__version__, "python": versions()["python"]},
            "device": device.describe(torch.device("cpu")).partition(",")[0],
            "cores": os.cpu_count(),
        },
    }


def _installed() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
