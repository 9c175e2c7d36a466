"""A bundle is whole, unchanged and listed, or it is refused with file and reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export import bundle
from export.bundle import Bundle, BundleError


@pytest.fixture
def copied(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle.directory, tmp_path / "copy"))


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change bundle.json in place."""
    path = directory / bundle.MANIFEST
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_is_written_is_read_again(tiny_bundle: Bundle) -> None:
    found = bundle.read(tiny_bundle.directory)
    assert found == tiny_bundle
    assert (found.size, found.channels, len(found.classes)) == (32, 3, 10)


def test_the_version_is_the_start_of_the_manifests_hash(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.version == tiny_bundle.sha256[:12]
    assert len(tiny_bundle.version) == 12


def test_loading_a_file_gives_its_bytes(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.load(bundle.MODEL) == (tiny_bundle.directory / bundle.MODEL).read_bytes()


@pytest.mark.parametrize(
    "name", [bundle.MODEL, bundle.WEIGHTS, bundle.SELFCHECK, "README.md", "curves.png", "reliability.png"]
)
def test_one_changed_bit_is_refused(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} differs"):
        bundle.read(copied)


def test_a_file_changed_after_reading_is_refused_when_it_is_loaded(copied: Path) -> None:
    found = bundle.read(copied)
    (copied / bundle.MODEL).write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"model\.onnx differs"):
        found.load(bundle.MODEL)


def test_a_missing_file_is_refused(copied: Path) -> None:
    (copied / bundle.WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
        bundle.read(copied)


def test_an_unlisted_file_is_refused(copied: Path) -> None:
    (copied / "extra.bin").write_bytes(b"?")
    with pytest.raises(BundleError, match=r"extra\.bin is not listed"):
        bundle.read(copied)


def test_a_symbolic_link_is_refused(copied: Path, tiny_bundle: Bundle) -> None:
    (copied / bundle.MODEL).unlink()
    (copied / bundle.MODEL).symlink_to(tiny_bundle.directory / bundle.MODEL)
    with pytest.raises(BundleError, match=r"model\.onnx is a symbolic link"):
        bundle.read(copied)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "c:\\x"])
def test_a_path_that_leaves_the_directory_is_refused(copied: Path, name: str) -> None:
    edit(copied, lambda document: document["files"].update({name: {"sha256": "", "bytes": 0}}))
    with pytest.raises(BundleError, match="not a plain file name"):
        bundle.read(copied)


def test_a_newer_format_is_refused(copied: Path) -> None:
    edit(copied, lambda document: document.update(format_version=bundle.FORMAT_VERSION + 1))
    with pytest.raises(BundleError, match="newer than"):
        bundle.read(copied)


@pytest.mark.parametrize(
    "key", ["format_version", "name", "classes", "input", "variants", "files", "temperature", "energy_threshold"]
)
def test_a_missing_entry_is_named(copied: Path, key: str) -> None:
    edit(copied, lambda document: document.pop(key))
    with pytest.raises(BundleError, match=key):
        bundle.read(copied)


def test_format_1_is_read_as_unable_to_tell_the_unknown(copied: Path) -> None:
    def age(document: dict[str, Any]) -> None:
        document["format_version"] = 1
        del document["energy_threshold"], document["calibration_error"]

    edit(copied, age)
    assert bundle.read(copied).energy_threshold is None


def test_a_bundle_without_a_threshold_says_so(copied: Path) -> None:
    edit(copied, lambda document: document.update(energy_threshold=None))
    assert bundle.read(copied).energy_threshold is None


def test_a_threshold_is_read_as_it_was_written(copied: Path) -> None:
    edit(copied, lambda document: document.update(energy_threshold=-0.1))
    assert bundle.read(copied).energy_threshold == -0.1


@pytest.mark.parametrize("threshold", ["-3", True, [], float("nan"), float("-inf")])
def test_an_unusable_threshold_is_refused(copied: Path, threshold: object) -> None:
    edit(copied, lambda document: document.update(energy_threshold=threshold))
    with pytest.raises(BundleError, match="'energy_threshold' must be a finite number"):
        bundle.read(copied)


@pytest.mark.parametrize("classes", [["cat"], ["cat", "cat"], ["cat", 1]])
def test_unusable_classes_are_refused(copied: Path, classes: list[object]) -> None:
    edit(copied, lambda document: document.update(classes=classes))
    with pytest.raises(BundleError, match="two or more different names"):
        bundle.read(copied)


@pytest.mark.parametrize("contract", [{}, {"size": 0, "channels": 3}, {"size": 32, "channels": 2}])
def test_an_unusable_input_contract_is_refused(copied: Path, contract: dict[str, int]) -> None:
    edit(copied, lambda document: document.update(input=contract))
    with pytest.raises(BundleError, match="'input' needs"):
        bundle.read(copied)


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(copied: Path, manifest: bytes) -> None:
    (copied / bundle.MANIFEST).write_bytes(manifest)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        bundle.read(copied)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        bundle.read(tmp_path)


def rewrite(source: Bundle, target: Path) -> Bundle:
    """Write `source` again at `target`."""
    contents = {name: source.load(name) for name in source.document["files"]}
    return bundle.write(target, source.document, contents)


def test_equal_content_gives_an_equal_version(tiny_bundle: Bundle, tmp_path: Path) -> None:
    assert rewrite(tiny_bundle, tmp_path / "again").sha256 == tiny_bundle.sha256


def test_an_older_bundle_is_replaced_and_nothing_else_is_left(copied: Path, tiny_bundle: Bundle) -> None:
    (copied / "extra.bin").write_bytes(b"?")
    rewrite(tiny_bundle, copied)
    assert bundle.read(copied).sha256 == tiny_bundle.sha256
    assert [entry.name for entry in copied.parent.iterdir()] == [copied.name]


def test_a_directory_that_is_no_bundle_is_not_overwritten(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not overwritten"):
        rewrite(tiny_bundle, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_write_that_fails_keeps_the_older_bundle(
    copied: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        rewrite(tiny_bundle, copied)
    assert bundle.read(copied).sha256 == tiny_bundle.sha256
    assert [entry.name for entry in copied.parent.iterdir()] == [copied.name]
