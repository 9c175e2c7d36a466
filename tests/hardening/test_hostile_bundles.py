"""Whoever writes into a bundle's directory can have it refused, and no more: nothing else is served or waited for."""

import os
import pickle
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export import bundle, reading, store
from export.bundle import MANIFEST, MODEL, Bundle, BundleError
from tests.conftest import ROOT
from tests.unit.bundles import little, put
from tests.unit.foreigners import external, model

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


def entry(key: bytes, number: bytes = b"\n", length: bytes | None = None) -> bytes:
    """The start of an entry `key` of an ONNX file, with its field and length as they are or as they are given."""
    return b"weights" + number + (length or bytes([len(key)])) + key + b"\x12\x09other.bin"


@pytest.mark.parametrize("number", [b"\n", b"\x8a\x00", b"\x8a\x80\x80\x00"])
@pytest.mark.parametrize("length", [b"\x08", b"\x88\x00", b"\x88" + 8 * b"\x80" + b"\x00"])
def test_a_graph_with_weights_in_another_file_is_refused_however_it_spells_that(
    pets: Bundle, number: bytes, length: bytes
) -> None:
    put(pets.directory, MODEL, b"location " + entry(b"location", number, length))
    with pytest.raises(BundleError, match=r"model\.onnx keeps weights in another file \(external data\)"):
        bundle.read(pets.directory)


def test_a_real_graph_with_external_data_is_refused_and_one_without_is_read(pets: Bundle, tmp_path: Path) -> None:
    put(pets.directory, MODEL, external(tmp_path).SerializeToString())
    with pytest.raises(BundleError, match="external data"):
        bundle.read(pets.directory)
    put(pets.directory, MODEL, model().SerializeToString())
    bundle.read(pets.directory)


@pytest.mark.parametrize("word", [b"location", b"locations", b"allocation", b'["location", "place"]'])
def test_a_weight_or_a_class_may_be_called_location(pets: Bundle, word: bytes) -> None:
    put(pets.directory, MODEL, b"classes" + word + entry(b"a location") + entry(b"location_of"))
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
