"""bundle.json: what it may say, and that everything else is refused with the reason."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from export import manifest
from tests.conftest import SHIPPED
from tests.unit.bundles import document

NEWEST = 3
REQUIRED = ("model.onnx", "selfcheck.npz")
PROMISE = {"bytes": 5, "sha256": "0" * 64}


def whole(**changes: Any) -> dict[str, Any]:
    """A document that is read, with some entries changed."""
    files = dict.fromkeys((*REQUIRED, "weights.safetensors"), PROMISE)
    return {**document(), "format_version": NEWEST, "files": files, **changes}


def parse(content: Any) -> dict[str, Any]:
    """Parse a document, or what is already text or bytes."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    return manifest.parse(text if isinstance(text, bytes) else text.encode(), newest=NEWEST, required=REQUIRED)


def test_what_was_written_is_read() -> None:
    assert parse(whole()) == whole()


def test_the_shipped_bundle_is_read() -> None:
    found = parse((SHIPPED / "bundle.json").read_bytes())
    assert (found["format_version"], found["name"]) == (3, "alexnet-cifar10")


def test_a_model_that_nobody_measured_or_trained_here_is_read() -> None:
    files = dict.fromkeys(REQUIRED, PROMISE)
    variants = {"fp32": {"file": "model.onnx", "accuracy": None}}
    found = parse(whole(network=None, data=None, accuracy={}, files=files, variants=variants))
    assert found["data"] is None


@pytest.mark.parametrize("key", sorted(whole().keys() - {"network", "calibration_error"}))
def test_a_missing_entry_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        parse({name: value for name, value in whole().items() if name != key})


@pytest.mark.parametrize("key", sorted(whole().keys() - {"network", "calibration_error"}))
@pytest.mark.parametrize("value", [True, [[]], ""])
def test_an_entry_of_another_type_is_named(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key.removesuffix("s")):
        parse(whole(**{key: value}))


def test_only_format_1_may_lack_the_threshold() -> None:
    old = {name: value for name, value in whole().items() if name != "energy_threshold"}
    assert parse({**old, "format_version": 1})["format_version"] == 1
    with pytest.raises(ValueError, match="energy_threshold"):
        parse({**old, "format_version": 2})


@pytest.mark.parametrize("version", [NEWEST + 1, 99])
def test_a_newer_format_is_refused_whatever_else_it_says(version: int) -> None:
    with pytest.raises(ValueError, match=f"bundle format {version} is newer than {NEWEST}, the newest"):
        parse({"format_version": version, "something": "else"})


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "3", None])
def test_a_format_that_there_never_was_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match="no format_version"):
        parse(whole(format_version=version))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"format_version": 1} x', b"\x80"])
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it is not (JSON|UTF-8)|not a bundle"):
        parse(content)


@pytest.mark.parametrize("depth", [manifest.DEEPEST + 1, 500, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    with pytest.raises(ValueError, match="nested more than 16 deep"):
        parse(f'{{"a": {opening * depth}1{closing * depth}}}')


@pytest.mark.parametrize("number", ["9007199254740993", "-9007199254740993", "1" * 5000, "1" * 1_000_000])
def test_a_huge_number_is_refused_anywhere(number: str) -> None:
    with pytest.raises(ValueError, match="is the largest"):
        parse(f'{{"anything": [{number}]}}')


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_anywhere(number: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        parse(f'{{"anything": [{number}]}}')


def test_a_manifest_of_many_megabytes_is_refused_unread() -> None:
    with pytest.raises(ValueError, match=r"larger than any bundle's manifest \(4,194,305 bytes\)"):
        parse(b"[" * (manifest.LONGEST + 1))


@pytest.mark.parametrize("name", ["name", "model.onnx"])
def test_a_name_that_stands_there_twice_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"it has '{name}' twice"):
        parse(json.dumps(whole()).replace(f'"{name}":', f'"{name}": 1, "{name}":', 1))


NO_FILE_NAMES = [
    *("../secret", "/etc/passwd", "a/b", "..", ".", "", "c:\\x", "a\\b", "c:x", "nul\0", "a\nb", ".hidden", "-option"),
    *("model.onnx.", "mo\u0301del.onnx", "мodel.onnx", "model.onnx ", "m" * 101),
]


@pytest.mark.parametrize("name", NO_FILE_NAMES)
def test_what_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        parse(whole(files={**whole()["files"], name: PROMISE}))


@pytest.mark.parametrize("name", ["bundle.json", "model.yaml", "Model.YAML", "custom_objects.pkl"])
def test_a_name_that_the_store_or_the_bundle_itself_needs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}, a name that is not a bundle's to use"):
        parse(whole(files={**whole()["files"], name: PROMISE}))


def test_names_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in case alone"):
        parse(whole(files={**whole()["files"], "Model.ONNX": PROMISE}))


@pytest.mark.parametrize(
    "promise",
    [
        {},
        None,
        [],
        {**PROMISE, "bytes": -1},
        {**PROMISE, "bytes": True},
        {**PROMISE, "bytes": 5.0},
        {**PROMISE, "bytes": (2 << 30) + 1},
        {**PROMISE, "sha256": "0" * 63},
        {**PROMISE, "sha256": "A" * 64},
        {**PROMISE, "sha256": 0},
    ],
)
def test_a_file_without_a_promise_is_refused(promise: object) -> None:
    with pytest.raises(ValueError, match=r"promises no (size|SHA-256).* for README\.md"):
        parse(whole(files={**whole()["files"], "README.md": promise}))


def test_more_files_than_any_bundle_has_are_refused() -> None:
    with pytest.raises(ValueError, match="lists 103 files; 100 are the most"):
        parse(whole(files={**whole()["files"], **{f"{number}.png": PROMISE for number in range(100)}}))


@pytest.mark.parametrize(
    "classes",
    [["cat"], ["cat", "cat"], ["cat", 1], ["cat", ""], ["cat", "a\nb"], ["cat", "\ud800"], ["cat", "x" * 256]],
)
def test_unusable_classes_are_refused(classes: list[object]) -> None:
    with pytest.raises(ValueError, match="two or more different names"):
        parse(whole(classes=classes))


@pytest.mark.parametrize("classes", [["猫", "犬"], ["chaton d'été", "chien"], ["a b", "c/d"], ["👩🏽‍🚀", "x" * 255]])
def test_classes_have_names_in_any_language(classes: list[str]) -> None:
    assert parse(whole(classes=classes))["classes"] == classes


@pytest.mark.parametrize("name", ["\x1b[2Jalexnet", "two\nlines", "\ud800", "", "x" * 256])
def test_a_name_that_a_terminal_would_obey_or_no_answer_could_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="'name' must be one line"):
        parse(whole(name=name))


@pytest.mark.parametrize(
    "change", [{"size": 0}, {"size": 1025}, {"size": 32.0}, {"size": True}, {"channels": 2}, {"channels": True}]
)
def test_an_unusable_size_or_number_of_channels_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="'input' needs a size of 1 to 1024 pixels and 1 or 3 channels"):
        parse(whole(input={**whole()["input"], **change}))


@pytest.mark.parametrize("change", [{"layout": "NCHW"}, {"dtype": "float32"}, {"name": "x"}, {"more": 1}])
def test_another_input_contract_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="'input' must be the uint8 pictures 'images' in NHWC"):
        parse(whole(input={**whole()["input"], **change}))


def test_other_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="'outputs' must be"):
        parse(whole(outputs=["probabilities", "logits"]))


def of_fp32(**changes: object) -> Callable[[], dict[str, Any]]:
    """A document whose one variant is changed."""
    return lambda: whole(variants={"fp32": {**whole()["variants"]["fp32"], **changes}})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda: whole(temperature=0.0), "'temperature' must be above 0"),
        (lambda: whole(temperature=-1.0), "'temperature' must be above 0"),
        (lambda: whole(energy_threshold="-3"), "'energy_threshold' must be a finite number"),
        (lambda: whole(accuracy={"test": 87.42}), r"'accuracy' of 'test' must be in 0\.\.1"),
        (lambda: whole(accuracy={"test": None}), r"'accuracy' of 'test' must be in 0\.\.1"),
        (lambda: whole(data={"fit": 3}), "'data' must have the name"),
        (lambda: whole(variants={"fp32": "model.onnx"}), "variant 'fp32' is not described"),
        (of_fp32(file="../model.onnx"), "variant 'fp32' is in a file that 'files' does not list"),
        (of_fp32(file=["model.onnx"]), "variant 'fp32' is in a file that 'files' does not list"),
        (of_fp32(selfcheck_limit=0.0), "the self-check's limit of variant 'fp32' must be a number above 0"),
        (of_fp32(selfcheck_limit="1"), "the self-check's limit of variant 'fp32' must be a number above 0"),
        (lambda: whole(preferred=["int8"]), "'preferred' must name a variant for each provider"),
        (lambda: whole(preferred={"cpu": "int8"}), "'preferred' names for 'cpu' a variant that is in no file"),
        (lambda: whole(preferred={"cpu": ["fp32"]}), "'preferred' names for 'cpu' a variant that is in no file"),
        (of_fp32(accuracy=2), r"the accuracy of variant 'fp32' must be in 0\.\.1"),
    ],
)
def test_figures_and_variants_must_make_sense(changed: Callable[[], dict[str, Any]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(changed())
