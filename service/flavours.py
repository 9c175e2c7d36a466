"""What a Bento installs: for a machine with a GPU what bentofile.yaml says, for one without it far less.

Both are made from pyproject.toml. The CPU's flavour has plain ONNX Runtime in place of the build for GPUs, no CUDA
libraries, and PyTorch only if it is asked for. OpenVINO's plugin is in neither unless it is asked for.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT, BENTOFILE = Path("pyproject.toml"), Path("bentofile.yaml")
FLAVOURS = ("gpu", "cpu")
ADDED = ("torch", "openvino")  # extras that may be asked for; the GPU's flavour always has the first
RUNTIME = "onnxruntime"


def description(flavour: str, added: Sequence[str] = (), root: Path = Path()) -> dict[str, Any]:
    """The bentofile of a flavour, from the project in `root`, with those of ADDED that are asked for."""
    found: dict[str, Any] = yaml.safe_load((root / BENTOFILE).read_text(encoding="utf-8"))
    project = tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["project"]
    packages = requirements(project["dependencies"], project["optional-dependencies"], flavour, added)
    return {
        **found,
        "labels": {**found["labels"], "flavour": flavour},
        "python": {**found["python"], "packages": packages},
    }


def requirements(
    dependencies: list[str], extras: dict[str, list[str]], flavour: str, added: Sequence[str] = ()
) -> list[str]:
    """What a flavour installs, of the dependencies and extras of pyproject.toml."""
    always = ("cuda", "torch") if flavour == "gpu" else ()
    more = [text for extra in dict.fromkeys((*always, *added)) for text in extras[extra]]
    if flavour == "gpu":
        return [*dependencies, *more]
    # The plain build has a marker for the platforms that the other one leaves to it; here it is for all.
    plain = [text.partition(";")[0] for text in dependencies if text.startswith(f"{RUNTIME}>=")]
    rest = [text for text in dependencies if not text.startswith(RUNTIME)]
    return [*rest, *plain, *more]
