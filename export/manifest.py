"""What bundle.json may say: JSON of a reasonable size, in which every entry that readers rely on has its type.

Nothing is looked up on the disk here, and every refusal is a ValueError that says what is wrong.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# A manifest of 1,000 classes is 30 KB; a larger one is none of ours.
LONGEST = 4 << 20
DEEPEST = 16
LARGEST_NUMBER = 2**53  # JSON numbers beyond it are not the same for every reader (RFC 8259)
LONGEST_NAME = 255  # as of a folder, whose name may be that of a class
# 64 pictures, the service's batch, of 1024x1024 are 200 MB.
LARGEST_SIDE = 1024
MOST_FILES = 100
LARGEST_FILE = 2 << 30  # protobuf, and so ONNX, holds no more
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# The last two belong to the BentoML model store, which would unpickle the third.
RESERVED = frozenset({"bundle.json", "model.yaml", "custom_objects.pkl"})
OUTPUTS = ["logits", "probabilities"]


def input_contract(size: int, channels: int) -> dict[str, Any]:
    """What the graph of a bundle takes: uint8 pictures [N, size, size, channels], N dynamic."""
    return {"name": "images", "dtype": "uint8", "layout": "NHWC", "size": size, "channels": channels}


def parse(content: bytes, *, newest: int, required: Sequence[str]) -> dict[str, Any]:
    """The document in `content`, of format 1 to `newest`, which lists the `required` files. Raises ValueError."""
    document = _decode(content)
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise ValueError("there is no format_version; this is not a bundle")
    if version > newest:
        raise ValueError(
            f"bundle format {version} is newer than {newest}, the newest this version reads; update alexnet-service"
        )
    _check_types(document)
    _check_figures(document)
    _check_classes(document["classes"])
    _check_contract(document["input"], document["outputs"])
    _check_files(document["files"], required)
    _check_variants(document["variants"], document["files"])
    _check_preferred(document.get("preferred", {}), document["variants"])
    return dict(document)


def is_name(value: Any) -> bool:
    """Whether `value` is text that can be shown in one line and sent as UTF-8."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        return False
    return not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in value)


def _decode(content: bytes) -> Any:
    if len(content) > LONGEST:
        raise ValueError(f"it is larger than any bundle's manifest ({len(content):,} bytes)")
    try:
        document = json.loads(
            content,
            object_pairs_hook=_without_duplicates,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from error
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    if _is_deeper(document, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Python takes the last of two, another reader may take the first.
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has {name[:100]!r} twice")
        found[name] = value
    return found


def _integer(text: str) -> int:
    # Told by its length first: to read a million digits takes long.
    if len(text) > 20 or abs(int(text)) > LARGEST_NUMBER:
        raise ValueError(f"it has a number of {len(text)} digits, {text[:12]}...; 2**53 is the largest")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has {text[:20]}, which is not a finite number")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts)


def _check_types(document: Mapping[str, Any]) -> None:
    expected = {
        "name": str,
        "classes": list,
        "input": dict,
        "outputs": list,
        "temperature": float,
        "accuracy": dict,
        "variants": dict,
        "files": dict,
        "provenance": dict,
    }
    for key, kind in expected.items():
        if not isinstance(document.get(key), kind):
            raise ValueError(f"{key!r} is missing or not of type {kind.__name__}")
    data = document.get("data", "missing")
    if data is not None and not (isinstance(data, dict) and is_name(data.get("name"))):
        raise ValueError("'data' must have the name of the data set, or be null where there is none")
    if not is_name(document["name"]):
        raise ValueError(f"'name' must be one line of 1 to {LONGEST_NAME} characters")


def _check_figures(document: Mapping[str, Any]) -> None:
    if document["temperature"] <= 0:
        raise ValueError("'temperature' must be above 0")
    threshold = document.get("energy_threshold", None if document["format_version"] == 1 else "missing")
    if not (threshold is None or isinstance(threshold, float)):
        raise ValueError("'energy_threshold' must be a finite number, or null where there is none")
    for of, share in document["accuracy"].items():
        if not _is_share(share):
            raise ValueError(f"'accuracy' of {of[:100]!r} must be in 0..1")


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _check_classes(classes: Sequence[Any]) -> None:
    if not all(is_name(name) for name in classes) or len(set(classes)) < len(classes) or len(classes) < 2:
        raise ValueError(f"'classes' must be two or more different names of one line, 1 to {LONGEST_NAME} characters")


def _check_contract(contract: Mapping[str, Any], outputs: Sequence[Any]) -> None:
    size, channels = contract.get("size"), contract.get("channels")
    if type(size) is not int or not 1 <= size <= LARGEST_SIDE or type(channels) is not int or channels not in (1, 3):
        raise ValueError(f"'input' needs a size of 1 to {LARGEST_SIDE} pixels and 1 or 3 channels")
    if contract != input_contract(size, channels):
        raise ValueError("'input' must be the uint8 pictures 'images' in NHWC")
    if outputs != OUTPUTS:
        raise ValueError(f"'outputs' must be {OUTPUTS}")


def _check_files(files: Mapping[str, Any], required: Sequence[str]) -> None:
    if len(files) > MOST_FILES:
        raise ValueError(f"'files' lists {len(files):,} files; {MOST_FILES} are the most")
    for name, promised in files.items():
        if not FILE_NAME.fullmatch(name) or name.endswith("."):
            raise ValueError(f"'files' lists {name[:100]!r}, which is not a plain file name")
        if name.lower() in RESERVED:
            raise ValueError(f"'files' lists {name}, a name that is not a bundle's to use")
        size, sha256 = (promised.get("bytes"), promised.get("sha256")) if isinstance(promised, dict) else (None, None)
        if type(size) is not int or not 0 <= size <= LARGEST_FILE:
            raise ValueError(f"'files' promises no size from 0 to {LARGEST_FILE:,} bytes for {name}")
        if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
            raise ValueError(f"'files' promises no SHA-256 for {name}")
    if len({name.lower() for name in files}) < len(files):
        raise ValueError("'files' lists names that differ in case alone, and are one file on some disks")
    for name in required:
        if name not in files:
            raise ValueError(f"'files' does not list {name}")


def _check_variants(variants: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    for name, variant in variants.items():
        if not isinstance(variant, dict):
            raise ValueError(f"variant {name[:100]!r} is not described")
        if (file := variant.get("file")) is not None and (not isinstance(file, str) or file not in files):
            raise ValueError(f"variant {name[:100]!r} is in a file that 'files' does not list")
        if (accuracy := variant.get("accuracy")) is not None and not _is_share(accuracy):
            raise ValueError(f"the accuracy of variant {name[:100]!r} must be in 0..1")
        limit = variant.get("selfcheck_limit", 1.0)
        if type(limit) is not float or limit <= 0:
            raise ValueError(f"the self-check's limit of variant {name[:100]!r} must be a number above 0")


def _check_preferred(preferred: Any, variants: Mapping[str, Any]) -> None:
    if not isinstance(preferred, dict):
        raise ValueError("'preferred' must name a variant for each provider")
    for provider, name in preferred.items():
        if not isinstance(name, str) or not isinstance(variants.get(name), dict) or not variants[name].get("file"):
            raise ValueError(f"'preferred' names for {provider[:100]!r} a variant that is in no file")
