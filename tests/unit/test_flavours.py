"""What each flavour of the Bento installs, held against pyproject.toml and bentofile.yaml."""

import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from service import flavours
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
BENTOFILE: dict[str, Any] = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def packages(flavour: str, *added: str) -> list[str]:
    found: list[str] = flavours.description(flavour, added, root=ROOT)["python"]["packages"]
    return found


def names(requirements: list[str]) -> set[str]:
    return {Requirement(text).name for text in requirements}


def test_the_committed_bentofile_is_that_of_the_gpu_flavour() -> None:
    assert BENTOFILE["python"]["packages"] == DEPENDENCIES + EXTRAS["cuda"] + EXTRAS["torch"]
    assert packages("gpu") == BENTOFILE["python"]["packages"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_cpu_flavour_differs_in_onnx_runtime_alone_and_has_no_cuda(machine: str) -> None:
    here = {"sys_platform": "linux", "platform_machine": machine}
    core = {r.name for r in map(Requirement, DEPENDENCIES) if not r.marker or r.marker.evaluate(here)}
    assert names(packages("cpu")) == core - {"onnxruntime-gpu"} | {"onnxruntime"}
    (runtime,) = [text for text in packages("cpu") if text.startswith("onnxruntime")]
    assert Requirement(runtime).marker is None
    kept = [text for text in DEPENDENCIES if not text.startswith("onnxruntime")]
    assert [text for text in packages("cpu") if not text.startswith("onnxruntime")] == kept


def test_both_flavours_ask_for_the_same_version_of_onnx_runtime() -> None:
    gpu, cpu = (
        {str(Requirement(text).specifier) for text in packages(flavour) if text.startswith("onnxruntime")}
        for flavour in flavours.FLAVOURS
    )
    assert gpu == cpu


def test_pytorch_is_in_the_cpu_flavour_only_where_it_is_asked_for() -> None:
    assert packages("cpu", "torch") == packages("cpu") + EXTRAS["torch"]
    assert packages("gpu", "torch") == packages("gpu")


@pytest.mark.parametrize("flavour", flavours.FLAVOURS)
def test_openvino_is_in_either_flavour_where_it_is_asked_for(flavour: str) -> None:
    assert packages(flavour, "openvino") == packages(flavour) + EXTRAS["openvino"]
    assert packages("cpu", "torch", "openvino") == packages("cpu") + EXTRAS["torch"] + EXTRAS["openvino"]


@pytest.mark.parametrize(
    ("system", "machine", "there"),
    [("linux", "x86_64", True), ("win32", "AMD64", True), ("linux", "aarch64", False), ("darwin", "arm64", False)],
)
def test_openvinos_plugin_is_asked_for_where_it_has_wheels(system: str, machine: str, there: bool) -> None:
    (plugin,) = map(Requirement, EXTRAS["openvino"])
    assert plugin.marker is not None
    assert plugin.marker.evaluate({"sys_platform": system, "platform_machine": machine}) is there


@pytest.mark.parametrize("flavour", flavours.FLAVOURS)
def test_nothing_else_of_the_bento_depends_on_the_flavour(flavour: str) -> None:
    found = flavours.description(flavour, root=ROOT)
    assert found.pop("labels") == {**BENTOFILE["labels"], "flavour": flavour}
    assert found.pop("python").keys() == BENTOFILE["python"].keys()
    assert found == {name: value for name, value in BENTOFILE.items() if name not in ("labels", "python")}
