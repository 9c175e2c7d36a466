"""Bundles in the BentoML store: named by their hash, stored once, whole."""

import shutil
from pathlib import Path

import bentoml
import pytest
from bentoml.exceptions import NotFound

from export import bundle, store
from export.bundle import Bundle, BundleError


def test_the_tag_is_the_bundles_hash(tiny_bundle: Bundle) -> None:
    assert store.put(tiny_bundle) == f"alexnet:{tiny_bundle.sha256[:12]}"
    assert store.get(store.put(tiny_bundle)).sha256 == tiny_bundle.sha256


def test_storing_twice_does_nothing(tiny_bundle: Bundle) -> None:
    tag = store.put(tiny_bundle)
    before = bentoml.models.get(tag).info.creation_time
    assert store.put(tiny_bundle) == tag
    assert bentoml.models.get(tag).info.creation_time == before


def test_a_stored_bundle_carries_data_set_and_accuracy(tiny_bundle: Bundle) -> None:
    info = bentoml.models.get(store.put(tiny_bundle)).info
    assert info.labels["dataset"] == "synthetic"
    assert info.metadata["accuracy"] == tiny_bundle.document["accuracy"]


def test_a_copy_that_a_kill_cut_short_is_replaced(tiny_bundle: Bundle) -> None:
    stored = Path(bentoml.models.get(store.put(tiny_bundle, "cut")).path)
    (stored / bundle.MODEL).write_bytes(b"half")
    (stored / "model.yaml").unlink()
    assert store.get(store.put(tiny_bundle, "cut")).sha256 == tiny_bundle.sha256


def test_a_bundle_damaged_on_the_way_is_not_stored(tiny_bundle: Bundle, tmp_path: Path) -> None:
    damaged = bundle.read(Path(shutil.copytree(tiny_bundle.directory, tmp_path / "copy")))
    (damaged.directory / bundle.MODEL).write_bytes(b"damaged after it was verified")
    with pytest.raises(BundleError):
        store.put(damaged, "damaged")
    with pytest.raises(NotFound):
        store.get(f"damaged:{damaged.version}")
