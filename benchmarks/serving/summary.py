"""Medians over a record's rounds, ratios within them, and the targets that these are held against."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.loads import ALONE, CEILING_LOAD, PEER_LOAD
from benchmarks.serving.turns import peak

OVER, UNDER = "open-2", "open-0.8"
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """What is wanted of a figure: at least or at most so much."""

    what: str
    figure: float | None  # None where nothing was measured
    least: float | None = None
    most: float | None = None
    form: str = "{:.2f}x"

    @property
    def met(self) -> bool | None:
        """Whether it is; None where nothing was measured."""
        if self.figure is None:
            return None
        return (self.least is None or self.figure >= self.least) and (self.most is None or self.figure <= self.most)


def median(result: Result, kind: str, figure: str, **keys: Any) -> float | None:
    """Of a figure over the rounds that have it; None where none has."""
    values = [one[figure] for one in result[kind] if keys.items() <= one.items() and one[figure] is not None]
    return statistics.median(values) if values else None


def errors(result: Result, server: str, load: str) -> dict[str, int]:
    """Requests without a right answer, by what they got, in all rounds together."""
    found: dict[str, int] = {}
    for one in _of(result, server, load):
        for error, count in one["errors"].items():
            found[error] = found.get(error, 0) + count
    return {error: count for error, count in found.items() if count}


def targets(result: Result) -> list[Target]:
    """What issue 6 asks for, in its order."""
    rival = f"{PEER_LOAD}: images/s, ours to"
    return [
        Target(f"{rival} LitServe's", _ratio(result, PEER_LOAD, "images_per_second", "litserve"), least=2),
        Target(f"{PEER_LOAD}: p99, ours to LitServe's", _ratio(result, PEER_LOAD, "p99_ms", "litserve"), most=1),
        Target(f"{rival} stock BentoML's", _ratio(result, PEER_LOAD, "images_per_second", "bentoml"), least=3),
        Target(f"{PEER_LOAD}: our errors", _error_share(result), most=0, form="{:.2%}"),
        Target(f"{rival} bare Starlette's", _ratio(result, PEER_LOAD, "images_per_second", "starlette"), least=1.1),
        Target(f"{CEILING_LOAD}: images/s, ours to the ceiling", _to_ceiling(result), least=0.65, form="{:.0%}"),
        Target(f"{ALONE}: p50, ours to bare Starlette's", _ratio(result, ALONE, "p50_ms", "starlette"), most=1.4),
        *_overload(result),
        Target("start to ready, ours to an empty BentoML service's", _start(result), most=2),
        Target("torch imported", _median(float(one["torch"]) for one in _starts(result)), most=0, form="{:.0f}"),
        Target("largest worker, MiB", median(result, "starts", "worker_mib", server="ours"), most=300, form="{:.0f}"),
    ]


def _overload(result: Result) -> list[Target]:
    """Twice the load that ours carries: what it still answers, how fast, and how it says no to the rest."""
    rows = {one["round"]: one for one in _of(result, "ours", OVER)}
    calm = {one["round"]: one for one in _of(result, "ours", UNDER)}
    peaks = {number: peak(result["loads"], "ours", number) for number in rows}
    goodput = _median(one["images_per_second"] / top for number, one in rows.items() if (top := peaks[number]))
    slower = _median(
        one["p99_ms"] / calm[number]["p99_ms"]
        for number, one in rows.items()
        if number in calm and one["p99_ms"] and calm[number]["p99_ms"]
    )
    polite = _median(one["told_when"] / refused for one in rows.values() if (refused := sum(one["errors"].values())))
    return [
        Target(f"{OVER}: goodput to peak", goodput, least=0.85, form="{:.0%}"),
        Target(f"{OVER}: p99 of the accepted, to p99 at 80 %", slower, most=3),
        Target(f"{OVER}: refusals that say when to come again", polite, least=1, form="{:.1%}"),
    ]


def _ratio(result: Result, load: str, figure: str, peer: str) -> float | None:
    """Ours to the peer's, the median of the rounds that have both."""
    theirs = {one["round"]: one[figure] for one in _of(result, peer, load)}
    ours = {one["round"]: one[figure] for one in _of(result, "ours", load)}
    return _median(ours[number] / other for number, other in theirs.items() if other and ours.get(number))


def _to_ceiling(result: Result) -> float | None:
    ceiling = {one["round"]: one["images_per_second"] for one in result["ceiling"]}
    rows = _of(result, "ours", CEILING_LOAD)
    return _median(one["images_per_second"] / ceiling[one["round"]] for one in rows if one["round"] in ceiling)


def _error_share(result: Result) -> float | None:
    return _median(sum(one["errors"].values()) / max(one["requests"], 1) for one in _of(result, "ours", PEER_LOAD))


def _start(result: Result) -> float | None:
    empty = {one["round"]: one["seconds"] for one in result["starts"] if one["server"] == "empty"}
    return _median(one["seconds"] / empty[one["round"]] for one in _starts(result) if one["round"] in empty)


def _starts(result: Result) -> list[Mapping[str, Any]]:
    return [one for one in result["starts"] if one["server"] == "ours"]


def _of(result: Result, server: str, load: str) -> list[Mapping[str, Any]]:
    return [one for one in result["loads"] if one["server"] == server and one["load"] == load]


def _median(values: Iterator[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
