"""Whoever writes into a bundle's directory can have it refused, and no more: nothing else is served or waited for."""

import io
import os
import pickle
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export import bundle, reading, selfcheck, store
from export.bundle import MANIFEST, MODEL, SELFCHECK, Bundle, BundleError
from tests.conftest import ROOT
from tests.unit.bundles import little, put, stored_check

READS = """
import sys
from pathlib import Path
from export import bundle
bundle.read(Path(sys.argv[1])).load(bundle.MODEL)
print(sorted({"torch", "onnx", "onnxscript", "onnxruntime", "bentoml"} & set(sys.modules)))
"""


@pytest.fixture
def pets(tmp_path: Path) -> Bundle:
    """A little bundle to be damaged."""
    return little(tmp_path / "pets")


def test_reading_and_loading_import_no_framework(pets: Bundle) -> None:
    command = [sys.executable, "-c", READS, str(pets.directory)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", [MANIFEST, MODEL])
def test_a_symbolic_link_out_of_the_directory_is_refused(pets: Bundle, tmp_path: Path, name: str) -> None:
    (pets.directory / name).rename(tmp_path / "outside")
    (pets.directory / name).symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=f"{name} is a symbolic link, not a file"):
        bundle.read(pets.directory)


def test_a_symbolic_link_inside_the_directory_is_refused_too(pets: Bundle) -> None:
    put(pets.directory, "same.onnx", b"graph")
    (pets.directory / MODEL).unlink()
    (pets.directory / MODEL).symlink_to("same.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx is a symbolic link, not a file"):
        bundle.read(pets.directory)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may have 107 bytes
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files here")
@pytest.mark.parametrize("name", [MANIFEST, MODEL, "model.yaml"])
@pytest.mark.parametrize(("kind", "make"), [("directory", Path.mkdir), ("FIFO", make_fifo), ("socket", make_socket)])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    pets: Bundle, name: str, kind: str, make: Callable[[Path], None]
) -> None:
    (pets.directory / name).unlink(missing_ok=True)
    make(pets.directory / name)
    reason = "'model.yaml' is not listed" if name == "model.yaml" else f"{name} is a {kind}, not a file"
    with pytest.raises(BundleError, match=reason):
        bundle.read(pets.directory)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files here")
@pytest.mark.parametrize("make", [make_fifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_file_replaced_between_the_check_and_the_load_is_refused(pets: Bundle, make: Callable[[Path], None]) -> None:
    found = bundle.read(pets.directory)
    (pets.directory / MODEL).unlink()
    make(pets.directory / MODEL)
    with pytest.raises(BundleError, match=r"model\.onnx is a .*, not a file"):
        found.load(MODEL)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files here")
def test_a_file_replaced_between_the_look_and_the_opening_is_refused(
    pets: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (pets.directory / MODEL).stat()
    (pets.directory / MODEL).unlink()
    make_fifo(pets.directory / MODEL)
    monkeypatch.setattr(Path, "lstat", lambda _: file)
    with pytest.raises(ValueError, match="is a FIFO, not a file"):
        reading.read(pets.directory / MODEL, 100)


@pytest.mark.parametrize("change", [b"grapH", b"grap", b"graph!", b"", b"x" * 1_000_000])
def test_a_file_changed_between_the_check_and_the_load_is_refused(pets: Bundle, change: bytes) -> None:
    found = bundle.read(pets.directory)
    (pets.directory / MODEL).write_bytes(change)
    with pytest.raises(BundleError, match=r"model\.onnx (differs from what bundle|is larger than the 5 bytes)"):
        found.load(MODEL)


def test_the_bytes_that_were_hashed_are_the_bytes_that_are_given(pets: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def changing(path: Path, most: int) -> bytes:
        reads.append(path)
        return b"graph" if len(reads) == 1 else b"other"[:most]

    monkeypatch.setattr(reading, "read", changing)
    assert pets.load(MODEL) == b"graph"
    assert reads == [pets.directory / MODEL]


def test_a_hard_link_is_a_file_until_its_content_changes(pets: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    os.link(pets.directory / MODEL, outside)
    found = bundle.read(pets.directory)
    assert found.load(MODEL) == b"graph"
    outside.write_bytes(b"grapf")
    with pytest.raises(BundleError, match=r"model\.onnx differs"):
        found.load(MODEL)


@pytest.mark.parametrize("name", ["extra", "MODEL.ONNX", "mo\u0301del.onnx", ".model.onnx.swp", "a\nb", "\x1b[2J"])
def test_whatever_is_not_listed_is_refused_and_named_in_one_line(pets: Bundle, name: str) -> None:
    (pets.directory / name).write_bytes(b"")
    with pytest.raises(BundleError) as refusal:
        bundle.read(pets.directory)
    assert str(refusal.value) == f"{pets.directory}: {name!r} is not listed in bundle.json"
    assert str(refusal.value).isprintable()


def test_a_directory_that_is_not_listed_is_refused(pets: Bundle) -> None:
    (pets.directory / "more").mkdir()
    with pytest.raises(BundleError, match="'more' is not listed"):
        bundle.read(pets.directory)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="here every file can be read")
def test_a_file_that_may_not_be_read_is_named(pets: Bundle) -> None:
    (pets.directory / MODEL).chmod(stat.S_IWUSR)
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read \(Permission denied\)"):
        bundle.read(pets.directory)


def zip_bomb() -> bytes:
    """A few kilobytes that unfold to 64 megabytes of black pictures, and could to any number."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 28, 2, 2, 1)}
        )
        for _ in range(1 << 6):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def object_array() -> bytes:
    """An array that only a pickle can hold."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, images=np.array([{}], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no self-check"),
        (b"PK\x03\x04", "is no self-check"),
        (stored_check()[:-10], "is no self-check"),
        (stored_check().replace(b"\x93NUMPY", b"\x93NUMPX"), "is no self-check"),
        (zip_bomb(), r"is no self-check \(it is compressed\)"),
        (object_array(), r"is no self-check \(Object arrays cannot be loaded"),
        (stored_check(count=0), "are needed"),
        (stored_check(size=5), "are needed"),
        (stored_check(classes=4), "outputs for 3 classes are needed"),
    ],
)
def test_a_self_check_that_is_none_is_refused_although_its_hash_is_right(
    pets: Bundle, content: bytes, reason: str
) -> None:
    put(pets.directory, SELFCHECK, content)
    with pytest.raises(BundleError, match=rf"selfcheck\.npz {reason}|selfcheck\.npz has .*{reason}"):
        bundle.read(pets.directory)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_self_check_that_every_engine_would_fail_is_refused(pets: Bundle, value: float) -> None:
    outputs = np.zeros((1, 3), np.float32)
    black = np.zeros((1, 4, 4, 3), np.uint8)
    put(pets.directory, SELFCHECK, selfcheck.encode(black, outputs + np.float32(value), outputs))
    with pytest.raises(BundleError, match=r"selfcheck\.npz has outputs that are not finite"):
        bundle.read(pets.directory)


class Exploit:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_that_bentoml_would_load_never_reaches_the_store(pets: Bundle, tmp_path: Path) -> None:
    put(pets.directory, "custom_objects.pkl", pickle.dumps(Exploit(tmp_path / "owned")))
    with pytest.raises(BundleError, match=r"custom_objects\.pkl, a name that is not a bundle's to use"):
        store.put(bundle.read(pets.directory), "exploit")
    assert not (tmp_path / "owned").exists()
