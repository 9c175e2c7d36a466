"""Bundles in the BentoML store: named by their hash, stored once, whole, and one of them the latest."""

import os
import shutil
import time
from pathlib import Path

import bentoml
import pytest
from bentoml.exceptions import NotFound

from export import bundle, store
from export.bundle import Bundle, BundleError
from tests.unit.bundles import little

pytestmark = pytest.mark.usefixtures("own_store")


@pytest.fixture
def pets(tmp_path: Path) -> Bundle:
    return little(tmp_path / "pets")


@pytest.fixture
def newer(tmp_path: Path) -> Bundle:
    return little(tmp_path / "newer", accuracy={"test": 0.8})


def latest(name: str = "alexnet") -> str:
    """What a plain `bentoml serve` would load."""
    return str(bentoml.models.get(f"{name}:latest").tag)


def test_the_tag_is_the_bundles_hash(pets: Bundle) -> None:
    assert store.put(pets) == f"alexnet:{pets.sha256[:12]}"
    assert store.get(store.put(pets)).sha256 == pets.sha256


def test_storing_twice_does_nothing(pets: Bundle) -> None:
    tag = store.put(pets)
    before = bentoml.models.get(tag).info.creation_time
    assert store.put(pets) == tag
    assert bentoml.models.get(tag).info.creation_time == before


def test_bentoml_lists_it_with_labels_that_are_strings_and_with_metadata(pets: Bundle) -> None:
    store.put(pets)
    (found,) = bentoml.models.list()
    assert found.info.labels == {"name": "alexnet-pets", "dataset": "pets", "accuracy": "0.7500"}
    assert found.info.metadata == {
        "sha256": pets.sha256,
        "network": "compact",
        "classes": ["cat", "dog", "frog"],
        "input": pets.document["input"],
        "accuracy": {"test": 0.75, "validation": 0.8},
        "variants": ["fp32"],
    }


def test_a_model_that_nobody_measured_has_no_such_labels(tmp_path: Path) -> None:
    tag = store.put(little(tmp_path / "imported", data=None, accuracy={}, network=None))
    assert bentoml.models.get(tag).info.labels == {"name": "alexnet-pets"}
    assert bentoml.models.get(tag).info.metadata["network"] == ""


def test_what_is_stored_last_is_the_latest(pets: Bundle, newer: Bundle) -> None:
    assert store.put(pets) == latest()
    assert store.put(newer) == latest() != f"alexnet:{pets.version}"


def test_each_name_has_a_latest_of_its_own(pets: Bundle, newer: Bundle) -> None:
    tags = store.put(pets), store.put(newer, "other")
    assert (latest(), latest("other")) == tags


def test_a_version_that_is_put_back_stays_the_latest_though_a_newer_one_is_stored_again(
    pets: Bundle, newer: Bundle
) -> None:
    older = store.put(pets)
    store.put(newer)
    store.use(older)
    assert latest() == older
    store.put(newer)
    assert latest() == older


def test_a_version_that_is_not_there_cannot_be_the_latest(pets: Bundle) -> None:
    tag = store.put(pets)
    with pytest.raises(NotFound):
        store.use("alexnet:000000000000")
    assert latest() == tag


def test_a_damaged_version_cannot_be_the_latest(pets: Bundle, newer: Bundle) -> None:
    damaged, whole = store.put(pets), store.put(newer)
    (store.place(damaged) / bundle.MODEL).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        store.use(damaged)
    assert latest() == whole


@pytest.mark.parametrize("description", [None, "", "- [", "name: alexnet"])
def test_a_copy_that_is_damaged_is_replaced(pets: Bundle, description: str | None) -> None:
    place = store.place(store.put(pets))
    (place / bundle.MODEL).write_bytes(b"half")
    (place / "model.yaml").unlink()
    if description is not None:
        (place / "model.yaml").write_text(description)
    assert store.get(store.put(pets)).sha256 == pets.sha256


def test_a_bundle_damaged_on_the_way_is_not_stored_and_leaves_nothing(
    pets: Bundle, newer: Bundle, own_store: Path
) -> None:
    before = store.put(newer)
    (pets.directory / bundle.MODEL).write_bytes(b"damaged after it was verified")
    with pytest.raises(BundleError):
        store.put(pets)
    assert [str(model.tag) for model in bentoml.models.list()] == [before]
    assert latest() == before
    assert list(own_store.parent.iterdir()) == [own_store]


def test_another_bundle_in_its_place_meanwhile_is_not_stored_under_the_first_ones_tag(
    pets: Bundle, newer: Bundle
) -> None:
    shutil.rmtree(pets.directory)
    shutil.copytree(newer.directory, pets.directory)
    with pytest.raises(BundleError, match=r"bundle\.json differs from what"):
        store.put(pets)
    with pytest.raises(NotFound):
        store.get(f"alexnet:{pets.version}")


def test_a_full_disk_leaves_the_store_as_it_was(
    pets: Bundle, newer: Bundle, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.put(pets)

    def full(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(store, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(newer)
    assert [str(model.tag) for model in bentoml.models.list()] == [before]
    assert list(own_store.parent.iterdir()) == [own_store]


def test_what_a_killed_process_left_is_removed_once_nobody_can_be_writing_it(pets: Bundle, own_store: Path) -> None:
    old, fresh = (own_store.parent / f"{store.SCRATCH}{name}" for name in ("old", "fresh"))
    for directory, age in ((old, store.ABANDONED_SECONDS + 60), (fresh, 60)):
        directory.mkdir()
        (directory / bundle.MODEL).write_bytes(b"half")
        os.utime(directory, (time.time() - age,) * 2)
    store.put(pets)
    assert not old.exists()
    assert fresh.exists()


def test_models_of_other_projects_are_not_touched(pets: Bundle, own_store: Path) -> None:
    with bentoml.models.create("alexnet:foreign") as model:
        Path(model.path_of("weights.bin")).write_bytes(b"weights")
    store.put(pets)
    assert (own_store / "alexnet" / "foreign" / "weights.bin").read_bytes() == b"weights"
