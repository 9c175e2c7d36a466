"""What is in the BentoML model store: every version of every bundle, found by tag, and how two of them differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bentoml

from export import bundle, store
from export.bundle import Bundle

MOST_NAMED = 10  # tags in one message
# Told in words of their own, or different between any two bundles.
TOLD_APART = ("accuracy", "classes", "files", "format_version", "name", "network", "parity.batches")


class UnknownTagError(Exception):
    """No version, or more than one, has this tag; the message says what is there."""


@dataclass(frozen=True)
class Version:
    """One version in the store: its bundle, whose files were not looked at, or what is wrong with it."""

    tag: str
    created: float  # seconds since 1970; 0 where it does not say
    bundle: Bundle | None
    fault: str = ""
    is_latest: bool = False


def stored() -> list[Version]:
    """Every version of every bundle, by name and then the newest first; other projects' models are left out."""
    names = sorted(entry for entry in store.root().iterdir() if entry.is_dir())
    return [version for name in names for version in _of_name(name)]


def find(tag: str) -> Version:
    """The version NAME:VERSION; of VERSION the first digits are enough, and without it NAME means the latest.

    Raises UnknownTagError.
    """
    name, _, wanted = tag.partition(":")
    there = stored()
    named = [version for version in there if version.tag.partition(":")[0] == name]
    if wanted in ("", store.LATEST):
        found = [version for version in named if version.is_latest]
    else:
        found = [version for version in named if version.tag == tag]
        found = found or [version for version in named if version.tag.startswith(tag)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownTagError(f"{tag} is not clear: it may be {_listed(found)}; give more of its digits")
    raise UnknownTagError(f"there is no {tag} in the BentoML store, which has {_listed(there)}")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every entry of two documents of bundle.json that is not the same: its path, and both values; None where missing.

    Accuracies, classes, network and files, which differ in ways of their own, are left out.
    """
    left, right = _flat(one), _flat(other)
    apart = tuple(f"{name}." for name in TOLD_APART)
    paths = sorted(path for path in left.keys() | right.keys() if not f"{path}.".startswith(apart))
    return [(path, left.get(path), right.get(path)) for path in paths if left.get(path) != right.get(path)]


def total_bytes(document: Mapping[str, Any]) -> int:
    """Size of all files of a bundle but bundle.json itself."""
    return sum(file["bytes"] for file in document["files"].values())


def _of_name(directory: Path) -> list[Version]:
    entries = [entry for entry in directory.iterdir() if entry.is_dir() and not _is_foreign(entry)]
    found = sorted(map(_version, entries), key=lambda version: (version.created, version.tag), reverse=True)
    latest = f"{directory.name}:{_pointed(directory)}"
    if found and latest not in {version.tag for version in found}:
        latest = found[0].tag  # what BentoML would take, and write down
    return [replace(version, is_latest=version.tag == latest) for version in found]


def _is_foreign(directory: Path) -> bool:
    """Whether it is a model of another project: BentoML describes it, and it is no bundle."""
    return (directory / store.DESCRIPTION).exists() and not (directory / bundle.MANIFEST).exists()


def _version(directory: Path) -> Version:
    tag = f"{directory.parent.name}:{directory.name}"
    try:
        created = bentoml.models.get(tag).info.creation_time.timestamp()
        return Version(tag, created, bundle.describe(directory))
    except Exception as error:  # of a damaged description BentoML, YAML and cattrs raise types of their own
        return Version(tag, 0, None, str(error))


def _pointed(directory: Path) -> str:
    try:
        return (directory / store.LATEST).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _listed(versions: Sequence[Version]) -> str:
    named = [version.tag + (" (latest)" if version.is_latest else "") for version in versions]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return (", ".join(named[:MOST_NAMED]) or "no bundle") + more


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The entries of nested objects by their dotted path; lists are entries of their own."""
    if not isinstance(value, dict):
        return {path: value}
    parts = [_flat(part, f"{path}.{name}" if path else name) for name, part in value.items()]
    return {name: entry for part in parts for name, entry in part.items()}
