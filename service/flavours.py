"""What a Bento installs: for a machine with a GPU what bentofile.yaml says, for one without it far less.

Both are made from pyproject.toml. The CPU's flavour has plain ONNX Runtime in place of the build for GPUs, no CUDA
libraries, and PyTorch only if it is asked for.
"""

import tomllib
from pathlib import Path
from typing import Any

import yaml

PROJECT, BENTOFILE = Path("pyproject.toml"), Path("bentofile.yaml")
FLAVOURS = ("gpu", "cpu")
RUNTIME = "onnxruntime"


def description(flavour: str, *, fallback: bool = False, root: Path = Path()) -> dict[str, Any]:
    """The bentofile of a flavour, from the project in `root`; `fallback` adds PyTorch, which the GPU's always has."""
    found: dict[str, Any] = yaml.safe_load((root / BENTOFILE).read_text(encoding="utf-8"))
    project = tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["project"]
    packages = requirements(project["dependencies"], project["optional-dependencies"], flavour, fallback=fallback)
    return {
        **found,
        "labels": {**found["labels"], "flavour": flavour},
        "python": {**found["python"], "packages": packages},
    }


def requirements(
    dependencies: list[str], extras: dict[str, list[str]], flavour: str, *, fallback: bool = False
) -> list[str]:
    """What a flavour installs, of the dependencies and extras of pyproject.toml."""
    if flavour == "gpu":
        return [*dependencies, *extras["cuda"], *extras["torch"]]
    # The plain build has a marker for the platforms that the other one leaves to it; here it is for all.
    plain = [text.partition(";")[0] for text in dependencies if text.startswith(f"{RUNTIME}>=")]
    rest = [text for text in dependencies if not text.startswith(RUNTIME)]
    return [*rest, *plain, *(extras["torch"] if fallback else ())]
