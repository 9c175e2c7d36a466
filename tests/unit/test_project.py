"""What several files say of the project agrees, and the packages depend on each other in one direction."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAY_IMPORT = {
    "training": {"training"},
    "export": {"export", "training"},
    "service": {"service", "export", "training"},
}
# Of the folders in service/, by way of the modules that lie beside them too.
MAY_REACH: dict[str, set[str]] = {
    "engines": set(),
    "batching": {"engines"},
    "pictures": {"engines", "batching"},
    "http": {"engines", "batching", "pictures"},
    "offline": {"engines", "batching", "pictures"},
}
FOLDERS = sorted(path.parent.name for path in (ROOT / "service").glob("*/__init__.py"))


def imported(path: Path) -> set[str]:
    """Whole names of all that a module imports, anywhere in it: packages, modules and what is in them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reached(folder: str) -> set[str]:
    """The other folders in service/ whose modules are imported by those in `folder`, or by what these import."""
    ahead, found = set((ROOT / "service" / folder).rglob("*.py")), set()
    while ahead:
        found |= ahead
        names = {name.replace(".", "/") for path in ahead for name in imported(path) if name.startswith("service.")}
        ahead = {path for path in (ROOT / f"{name}.py" for name in names) if path.is_file()} - found
    return {path.parent.name for path in found} - {folder, "service"}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_only_against_the_flow_of_data(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        packages = {name.partition(".")[0] for name in imported(path)}
        assert packages & set(MAY_IMPORT) <= MAY_IMPORT[package], path.name


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_of_the_service_lie_in_layers(folder: str) -> None:
    assert reached(folder) <= MAY_REACH[folder]


@pytest.mark.parametrize(
    "module", ["service.engines.loading", "service.http.routes", "service.launch", "export.bundle"]
)
def test_the_service_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("module", ["export.tuning", "service.engines.loading", "service.__main__", "export.runtimes"])
def test_onnx_runtime_is_told_not_to_report_before_it_is_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os, sys; sys.exit(os.environ.get('ORT_DISABLE_TELEMETRY', 'no'))")
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    asked = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(asked, cwd=ROOT, env={**kept, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.stderr == "1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not made for Windows")
def test_requests_are_read_by_the_parser_and_the_loop_written_in_c() -> None:
    import uvloop

    assert AutoHTTPProtocol is HttpToolsProtocol
    loop = auto_loop_factory()()
    loop.close()
    assert isinstance(loop, uvloop.Loop)


def test_onnx_runtime_is_never_installed_twice() -> None:
    """The two builds share one package folder: of their markers exactly one holds on any platform."""
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in PROJECT["dependencies"] if text.startswith("onnxruntime")]
    for system, machine in [("linux", "x86_64"), ("win32", "AMD64"), ("darwin", "arm64"), ("linux", "aarch64")]:
        environment = {"sys_platform": system, "platform_machine": machine}
        chosen = [r.name for r in requirements if r.marker and r.marker.evaluate(environment)]
        expected = "onnxruntime-gpu" if machine in {"x86_64", "AMD64"} else "onnxruntime"
        assert chosen == [expected]


def test_ci_pins_every_requirement() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    asked = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in asked}
    assert names - {"alexnet-service"} <= pinned


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")
def test_no_committed_file_is_larger_than_10_megabytes() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [path for path in files if path.is_file() and path.stat().st_size > 10 << 20]
