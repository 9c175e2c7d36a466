"""The `cuda` extra brings every library that ONNX Runtime's CUDA provider needs. Needs no GPU, only the wheels."""

import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import onnxruntime
import pytest
from elftools.elf.elffile import ELFFile

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the CUDA wheels exist for x86-64 Linux only"
)

PROVIDER = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
# Opened by name at run time, so no NEEDED entry tells of them.
OPENED_AT_RUN_TIME = {
    "libcudnn.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_ops.so.9",
    "libcufft.so.12",
}
# The driver's own, and what every Linux with glibc has.
OF_THE_SYSTEM = re.compile(r"libcuda\.so\.1|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so.*|ld-linux.*|libz\.so\.1")


def extra_distributions() -> Iterator[str]:
    """Names of the distributions that the `cuda` extra installs, with what those require in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, seen = list(project["optional-dependencies"]["cuda"]), set()
    while waiting:
        requirement = waiting.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        if name in seen or "extra ==" in requirement:
            continue
        seen.add(name)
        yield name
        waiting += distribution(name).requires or []


def libraries() -> dict[str, Path]:
    """Every shared library in the wheels of the extra, by file name."""
    found: dict[str, Path] = {}
    for name in extra_distributions():
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            pytest.fail(f"the cuda extra names {name}, which is not installed")
        found |= {path.name: Path(str(path.locate())) for path in files if ".so" in path.name}
    return found


def needed(path: Path) -> set[str]:
    """The libraries that the loader looks for when it loads `path`."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        return {tag.needed for tag in section.iter_tags("DT_NEEDED")}


def test_the_extra_leaves_torch_out() -> None:
    assert "torch" not in set(extra_distributions())


def test_every_library_of_the_cuda_provider_is_in_the_extras_wheels() -> None:
    asked = needed(PROVIDER) | OPENED_AT_RUN_TIME
    assert "libcublasLt.so.13" in asked, "the provider's NEEDED entries were not read"
    missing = {name for name in asked if not OF_THE_SYSTEM.fullmatch(name)} - set(libraries())
    assert not missing


def test_what_those_libraries_need_in_turn_is_there_too() -> None:
    found = libraries()
    chain, seen = list(needed(PROVIDER) | OPENED_AT_RUN_TIME), set()
    while chain:
        name = chain.pop()
        if name in seen or OF_THE_SYSTEM.fullmatch(name):
            continue
        seen.add(name)
        assert name in found, f"{name} is needed and in none of the wheels"
        chain += needed(found[name])
    assert len(seen) > len(OPENED_AT_RUN_TIME)
