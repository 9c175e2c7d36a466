"""A bundle is whole, unchanged and listed, or it is refused with file and reason."""

import shutil
from pathlib import Path

import pytest

from export import bundle
from export.bundle import Bundle, BundleError
from tests.unit.bundles import contents, document, edit, little, put, stored_check


@pytest.fixture
def copied(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle.directory, tmp_path / "copy"))


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
    with pytest.raises(BundleError, match=r"'extra\.bin' is not listed"):
        bundle.read(copied)


def test_a_manifest_that_cannot_be_used_is_refused_with_its_place_and_the_reason(copied: Path) -> None:
    edit(copied, lambda document: document.update(classes=["cat", "cat"]))
    with pytest.raises(BundleError, match=r"copy/bundle\.json: 'classes' must be two or more different names"):
        bundle.read(copied)


def test_a_bundle_without_a_threshold_says_so(copied: Path) -> None:
    edit(copied, lambda document: document.update(energy_threshold=None))
    assert bundle.read(copied).energy_threshold is None


def test_a_threshold_is_read_as_it_was_written(copied: Path) -> None:
    edit(copied, lambda document: document.update(energy_threshold=-0.1))
    assert bundle.read(copied).energy_threshold == -0.1


@pytest.mark.parametrize("classes", [2, 4])
def test_a_self_check_for_another_number_of_classes_is_refused(tmp_path: Path, classes: int) -> None:
    little(tmp_path / "pets")
    put(tmp_path / "pets", bundle.SELFCHECK, stored_check(classes=classes))
    needed = "pictures of 4x4x3 and outputs for 3 classes are needed"
    with pytest.raises(BundleError, match=rf"pets/selfcheck\.npz has .*logits float32 \[2, {classes}\].*; {needed}"):
        bundle.read(tmp_path / "pets")


def test_a_file_that_is_not_listed_is_not_loaded_either(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="does not list other"):
        tiny_bundle.load("other.onnx")


def test_a_bundle_tells_whether_pytorch_can_run_it(tmp_path: Path) -> None:
    little(tmp_path / "pets")
    assert bundle.read(tmp_path / "pets").has_weights
    (tmp_path / "pets" / bundle.WEIGHTS).unlink()
    edit(tmp_path / "pets", lambda document: document["files"].pop(bundle.WEIGHTS))
    assert not bundle.read(tmp_path / "pets").has_weights


def test_a_bundle_tells_its_variants_and_which_to_prefer_and_older_ones_have_fp32_alone(tmp_path: Path) -> None:
    older = little(tmp_path / "older")
    assert (older.variants, older.preferred("cpu"), older.selfcheck_limit("fp32")) == (("fp32",), "fp32", 1e-3)
    int8 = {"file": bundle.FILES["int8"], "accuracy": 0.75, "selfcheck_limit": 0.25}
    described = document(variants={**document()["variants"], "int8": int8}, preferred={"cpu": "int8"})
    found = bundle.write(tmp_path / "newer", described, contents() | {"model.int8.onnx": b"small"})
    assert (found.variants, found.preferred("cpu"), found.preferred("cuda")) == (("fp32", "int8"), "int8", "fp32")
    assert (found.selfcheck_limit("int8"), found.load_variant("int8")) == (0.25, b"small")
    with pytest.raises(BundleError, match="no variant fp16; it has: fp32, int8"):
        found.load_variant("fp16")


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
