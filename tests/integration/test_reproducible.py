"""The same checkpoint gives the same ONNX file, byte for byte, whoever exports it and from wherever."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export import graph
from export.bundle import MODEL, WEIGHTS, Bundle
from tests.conftest import ROOT
from training import checkpoint
from training.loop import Result

EXPORTS = """
import hashlib, sys
from pathlib import Path
import export
from export import graph
from training import checkpoint
path = Path(sys.argv[1])
source = checkpoint.load(path)
sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
model = graph.to_onnx(source.build_classifier(), size=32, channels=3, classes=source.metadata.classes,
                      checkpoint_sha256=sha256)
print(Path(export.__file__).parents[1])
print(hashlib.sha256(model).hexdigest())
"""


def exported_elsewhere(source: Path, path: Path, hash_seed: str) -> str:
    """SHA-256 of the ONNX file that a process of its own makes with the packages in `source`."""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", EXPORTS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=source, env=environment)
    place, sha256 = done.stdout.splitlines()[-2:]
    assert place == str(source)
    return sha256


@pytest.fixture
def promised(tiny_bundle: Bundle) -> str:
    """SHA-256 of the ONNX file that this process made."""
    return str(tiny_bundle.document["files"][MODEL]["sha256"])


def test_twice_in_one_process(tiny_bundle: Bundle, promised: str) -> None:
    weights = tiny_bundle.load(WEIGHTS)
    again = graph.to_onnx(
        checkpoint.decode(weights, WEIGHTS).build_classifier(),
        size=32,
        channels=3,
        classes=tiny_bundle.classes,
        checkpoint_sha256=hashlib.sha256(weights).hexdigest(),
    )
    assert hashlib.sha256(again).hexdigest() == promised


def test_in_another_process(tiny_run: Result, promised: str) -> None:
    assert exported_elsewhere(ROOT, tiny_run.path, hash_seed="12345") == promised


def test_from_another_directory_with_the_code_and_the_checkpoint_elsewhere(
    tiny_run: Result, promised: str, tmp_path: Path
) -> None:
    for package in ("training", "export"):
        shutil.copytree(ROOT / package, tmp_path / "a checkout" / package)
    copied = shutil.copyfile(tiny_run.path, tmp_path / "other.safetensors")
    assert exported_elsewhere(tmp_path / "a checkout", Path(copied), hash_seed="0") == promised


def test_nothing_of_the_machine_is_in_the_file(tiny_run: Result, tiny_bundle: Bundle) -> None:
    content = tiny_bundle.load(MODEL)
    for trace in (str(ROOT), str(tiny_run.path.parent), str(Path.home()), sys.prefix, ".py", "stack_trace"):
        assert trace.encode() not in content
