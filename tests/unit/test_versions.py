"""Versions in the store: all of them listed, each found by as many digits as are clear, two of them told apart."""

from pathlib import Path

import bentoml
import pytest

from export import bundle, store, versions
from export.bundle import Bundle
from export.versions import UnknownTagError
from tests.unit.bundles import little

pytestmark = pytest.mark.usefixtures("own_store")


def stored_under(tag: str, tmp_path: Path) -> str:
    """A little bundle in the store, under a version of the test's choice."""
    place = store.place(store.put(little(tmp_path / "pets"), tag.partition(":")[0]))
    place.rename(store.place(tag))
    (store.place(tag) / "model.yaml").write_text(
        (store.place(tag) / "model.yaml").read_text().replace(place.name, tag.partition(":")[2])
    )
    return tag


def tags() -> list[str]:
    return [version.tag for version in versions.stored()]


def test_an_empty_store_has_no_versions() -> None:
    assert versions.stored() == []


def test_versions_are_listed_by_name_the_newest_first_and_one_of_each_name_is_the_latest(tmp_path: Path) -> None:
    bundles = [little(tmp_path / str(number), accuracy={"test": number / 10}) for number in range(3)]
    first, second = store.put(bundles[0]), store.put(bundles[1])
    other = store.put(bundles[2], "other")
    store.use(first)
    found = versions.stored()
    assert [(version.tag, version.is_latest) for version in found] == [(second, False), (first, True), (other, True)]
    assert [version.bundle for version in found] == [store.get(version.tag) for version in found]
    assert found[0].created == bentoml.models.get(second).info.creation_time.timestamp()


@pytest.mark.parametrize("latest", [None, "gone", "\xff"])
def test_without_a_usable_note_the_newest_is_the_latest_as_for_bentoml(
    tmp_path: Path, own_store: Path, latest: str | None
) -> None:
    for number in range(2):
        newest = store.put(little(tmp_path / str(number), accuracy={"test": number / 10}))
    (own_store / "alexnet" / "latest").unlink()
    if latest is not None:
        (own_store / "alexnet" / "latest").write_bytes(latest.encode("latin-1"))
    assert [version.tag for version in versions.stored() if version.is_latest] == [newest]


def test_models_of_other_projects_are_left_out(tmp_path: Path) -> None:
    with bentoml.models.create("alexnet:foreign"), bentoml.models.create("resnet:foreign"):
        pass
    tag = store.put(little(tmp_path / "pets"))
    assert tags() == [tag]


def test_a_damaged_version_is_listed_with_its_fault_and_hides_no_other(tmp_path: Path, own_store: Path) -> None:
    whole = store.put(little(tmp_path / "pets"))
    (own_store / "alexnet" / "half").mkdir()
    (own_store / "alexnet" / "manifest").mkdir()
    (own_store / "alexnet" / "manifest" / bundle.MANIFEST).write_text("{")
    found = {version.tag: version for version in versions.stored()}
    assert found.keys() == {whole, "alexnet:half", "alexnet:manifest"}
    assert found[whole].bundle is not None
    assert found["alexnet:half"].bundle is None
    assert "model.yaml" in found["alexnet:half"].fault


@pytest.mark.parametrize("tag", ["alexnet:aaaa11111111", "alexnet:aaaa1", "alexnet:b", "alexnet:latest", "alexnet"])
def test_a_version_is_found_by_its_first_digits_or_as_the_latest(tmp_path: Path, tag: str) -> None:
    for version in ("aaaa11111111", "aaaa22222222", "bbbb33333333"):
        stored_under(f"alexnet:{version}", tmp_path / version)
    store.use("alexnet:aaaa22222222")
    expected = {"alexnet:b": "bbbb33333333", "alexnet:latest": "aaaa22222222", "alexnet": "aaaa22222222"}
    assert versions.find(tag).tag == f"alexnet:{expected.get(tag, 'aaaa11111111')}"


def test_a_whole_version_is_found_although_it_begins_another(tmp_path: Path) -> None:
    short, long = stored_under("alexnet:aaaa", tmp_path / "1"), stored_under("alexnet:aaaabbbb", tmp_path / "2")
    assert versions.find(short).tag == short
    assert versions.find(long).tag == long


def test_digits_of_more_than_one_version_are_refused_with_all_of_them(tmp_path: Path) -> None:
    for version in ("aaaa11111111", "aaaa22222222"):
        stored_under(f"alexnet:{version}", tmp_path / version)
    store.use("alexnet:aaaa11111111")
    with pytest.raises(UnknownTagError) as refusal:
        versions.find("alexnet:aaaa")
    assert str(refusal.value) in {
        f"alexnet:aaaa is not clear: it may be {one}, {other}; give more of its digits"
        for one, other in [
            ("alexnet:aaaa22222222", "alexnet:aaaa11111111 (latest)"),
            ("alexnet:aaaa11111111 (latest)", "alexnet:aaaa22222222"),
        ]
    }


@pytest.mark.parametrize("tag", ["alexnet:ccc", "alexne:aaaa", "alexnett", "", ":", "a b:c/d", "../x", "ALEXNET", "*"])
def test_an_unknown_tag_is_refused_with_what_is_there(tmp_path: Path, tag: str) -> None:
    there = stored_under("alexnet:aaaa11111111", tmp_path)
    store.use(there)
    with pytest.raises(UnknownTagError) as refusal:
        versions.find(tag)
    assert str(refusal.value) == f"there is no {tag} in the BentoML store, which has {there} (latest)"


def test_of_many_versions_ten_are_named(tmp_path: Path) -> None:
    for number in range(12):
        store.put(little(tmp_path / str(number), accuracy={"test": number / 100}))
    with pytest.raises(UnknownTagError, match=r"(alexnet:\w+( \(latest\))?, ){9}alexnet:\w+ and 2 more$"):
        versions.find("other")


def test_in_an_empty_store_nothing_is_found() -> None:
    with pytest.raises(UnknownTagError, match=r"^there is no alexnet in the BentoML store, which has no bundle$"):
        versions.find("alexnet")


def changed(tmp_path: Path, **changes: object) -> list[tuple[str, object, object]]:
    """What is told apart in a bundle and the same with some changes."""
    one, other = little(tmp_path / "one"), little(tmp_path / "other", **changes)
    return versions.differences(one.document, other.document)


def test_equal_bundles_differ_in_nothing(tmp_path: Path) -> None:
    assert changed(tmp_path) == []


def test_every_changed_added_or_missing_entry_is_told_by_its_path(tmp_path: Path) -> None:
    fp16 = {"file": bundle.MODEL, "accuracy": 0.75, "images_per_second": {"64": 1600}}
    found = changed(
        tmp_path,
        temperature=1.5,
        provenance={"opset": 21},
        variants={"fp32": {"file": bundle.MODEL, "accuracy": 0.76}, "fp16": fp16},
    )
    assert [path for path, _, _ in found] == [
        "provenance.checkpoint_sha256",
        "provenance.opset",
        "temperature",
        "variants.fp16.accuracy",
        "variants.fp16.file",
        "variants.fp16.images_per_second.64",
        "variants.fp32.accuracy",
    ]
    assert found[1:4] == [
        ("provenance.opset", 20, 21),
        ("temperature", 1.0, 1.5),
        ("variants.fp16.accuracy", None, 0.75),
    ]
    assert found[0][2] is None


def test_what_has_words_of_its_own_is_left_to_them(tmp_path: Path) -> None:
    parity = {"batches": [{"max_logit_difference": 1e-6}], "pictures": "noise"}
    found = changed(tmp_path, name="x", network="y", classes=["a", "b", "c"], accuracy={}, parity=parity)
    assert found == [("parity.pictures", None, "noise")]


def test_a_size_is_that_of_all_files(tmp_path: Path) -> None:
    pets: Bundle = little(tmp_path / "pets")
    sizes = [file.stat().st_size for file in pets.directory.iterdir() if file.name != bundle.MANIFEST]
    assert versions.total_bytes(pets.document) == sum(sizes)
