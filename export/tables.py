"""Versions of the store as tables for people."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from export import versions
from export.bundle import Bundle
from export.versions import Version

MOST_CLASSES = 20  # in one cell; in one that tells a difference a few will do
FEW_CLASSES = 5
HASH = re.compile(r"[0-9a-f]{64}")
Named = tuple[str, Bundle]


def listing(found: Sequence[Version]) -> Table:
    """One row a version; of a damaged one its fault."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("tag", "model", "data set", "accuracy", "variants", "size", "created (UTC)", ""):
        table.add_column(heading, justify="right" if heading in {"accuracy", "size"} else "left", overflow="fold")
    for version in found:
        latest = "latest" if version.is_latest else ""
        if version.bundle is None:
            _add(table, version.tag, "damaged", version.fault, "", "", "", _moment(version.created), latest)
            continue
        document = version.bundle.document
        _add(
            table,
            version.tag,
            version.bundle.name,
            (document["data"] or {}).get("name", "-"),
            _share(document["accuracy"].get("test")),
            ", ".join(sorted(document["variants"])),
            _size(versions.total_bytes(document)),
            _moment(version.created),
            latest,
        )
    return table


def essentials(version: Version, bundle: Bundle) -> Table:
    """What the model is: classes, input, accuracies, calibration, variants, files and their hashes, provenance."""
    document = bundle.document
    contract = document["input"]
    table = _plain(f"{version.tag}{' (latest)' if version.is_latest else ''}")
    _add(table, "model", bundle.name)
    _add(table, "SHA-256", bundle.sha256)
    _add(table, "stored (UTC)", _moment(version.created))
    _add(table, "network", document.get("network") or "imported")
    _add(table, "classes", f"{len(bundle.classes)}: {_shortened(bundle.classes)}")
    _add(table, "input", f"{contract['dtype']} {contract['layout']}, {bundle.size}x{bundle.size}x{bundle.channels}")
    _add(table, "data", _data(document["data"]))
    for split in sorted(document["accuracy"]) or ["test"]:
        _add(table, f"accuracy, {split}", _share(document["accuracy"].get(split)))
    _add(table, "temperature", _value(document["temperature"]))
    _add(table, "calibration error", _calibration(document.get("calibration_error")))
    _add(table, "energy threshold", _value(document.get("energy_threshold")))
    for name, variant in sorted(document["variants"].items()):
        _add(table, f"variant {name}", ", ".join(f"{key} {_value(value)}" for key, value in sorted(variant.items())))
    for name, file in sorted(document["files"].items()):
        _add(table, name, f"{_size(file['bytes'])}, {file['sha256']}")
    for path, value, _ in versions.differences({"provenance": document["provenance"]}, {}):
        _add(table, path, _value(value))
    return table


def comparison(one: Named, other: Named) -> Table:
    """Accuracy, size, classes and network of both, and every further entry that differs; a change where it is one."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", one[0], other[0], "change"):
        table.add_column(heading, overflow="fold")
    left, right = one[1].document, other[1].document
    _add(table, "model", one[1].name, other[1].name, _other(one[1].name, other[1].name))
    for split in sorted(left["accuracy"].keys() | right["accuracy"].keys()):
        before, after = (document["accuracy"].get(split) for document in (left, right))
        _add(table, f"accuracy, {split}", _share(before), _share(after), _points(before, after))
    sizes = [versions.total_bytes(document) for document in (left, right)]
    _add(table, "size", *map(_size, sizes), _ratio(*sizes))
    _add(table, "classes", str(len(one[1].classes)), str(len(other[1].classes)), _of_classes(one[1], other[1]))
    networks = [document.get("network") or "imported" for document in (left, right)]
    _add(table, "network", *networks, _other(*networks))
    for path, before, after in versions.differences(left, right):
        _add(table, path, *(HASH.sub(_digits, _value(value)) for value in (before, after)), _ratio(before, after))
    return table


def _plain(title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    # As they are: a class may be called [red].
    table.add_row(*map(Text, cells))


def _of_classes(one: Bundle, other: Bundle) -> str:
    if one.classes == other.classes:
        return "none"
    lost, new = set(one.classes) - set(other.classes), set(other.classes) - set(one.classes)
    parts = [
        f"{sign} {_shortened(sorted(names), FEW_CLASSES)}"
        for sign, names in (("without", lost), ("with", new))
        if names
    ]
    return "; ".join(parts) or "in another order"


def _points(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{100 * (after - before):+.2f} points"


def _other(before: str, after: str) -> str:
    return "none" if before == after else "another"


def _ratio(before: Any, after: Any) -> str:
    numbers = all(type(value) in (int, float) for value in (before, after))
    return f"x{after / before:.3g}" if numbers and before > 0 and after > 0 else ""


def _digits(found: re.Match[str]) -> str:
    return f"{found[0][:12]}..."


def _calibration(error: Mapping[str, float] | None) -> str:
    return "not measured" if error is None else f"{error['before']:.2%}; {error['after']:.2%} at the temperature"


def _data(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return "not known"
    return ", ".join([str(data["name"]), *(f"{key} {value:,}" for key, value in data.items() if type(value) is int)])


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else "-"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _shortened(names: Sequence[str], most: int = MOST_CLASSES) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
