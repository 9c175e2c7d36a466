"""The variants of a checkpoint's graph: made, judged for speed, and told in bundle.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto

from export import graph, half, int8, onnxfile, parity, providers, runtimes, smaller, speed
from export.bundle import FILES, SELFCHECK_LIMIT, Outputs
from export.parity import Pictures
from export.verdicts import ParityReport
from training.checkpoint import Checkpoint
from training.pixels import Pixels

NO_TRAINING_PICTURES = "it is calibrated on training pictures, and there were none (--data-dir)"
SPEED_BATCH, SPEED_ROUNDS, SPEED_SECONDS = 64, 3, 0.2
# fp16 is for GPUs: ONNX Runtime's CPU provider computes it in fp32, between casts. int8 is for processors.
CANDIDATES = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16"), "openvino": ("fp32", "int8")}


@dataclass(frozen=True)
class Made:
    """ONNX files by variant, why some were not made, and how each was, for bundle.json."""

    graphs: dict[str, bytes]
    left_out: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)


def make(source: Checkpoint, sha256: str, training: Pictures | None, *, shown: bool = False) -> Made:
    """fp32, fp16, and with labelled `training` pictures int8, of a checkpoint whose file has this SHA-256.

    Raises GraphError, and ValueError where a graph names other classes than the checkpoint.
    """
    meta, classifier = source.metadata, source.build_classifier()
    plain = graph.trace(classifier, size=meta.size, channels=meta.channels)
    finish = partial(
        graph.finish, size=meta.size, channels=meta.channels, classes=meta.classes, checkpoint_sha256=sha256
    )
    stored = ModelProto()
    stored.CopyFrom(plain)
    half.halve(stored, classifier)
    made = Made({"fp32": finish(stored), "fp16": finish(smaller.to_fp16(plain))})
    if training is None:
        made.left_out["int8"] = NO_TRAINING_PICTURES
    else:
        made.graphs["int8"], made.details["int8"] = int8.chosen(classifier, finish, training, shown=shown)
    for model in made.graphs.values():
        onnxfile.require_classes(model, meta.classes)
    return made


def described(made: Made, report: ParityReport, checked: Pixels, expected: Outputs) -> dict[str, Any]:
    """The entries of bundle.json on variants: what each kept one measured, which to prefer, and what was left out."""
    kept = {name: model for name, model in made.graphs.items() if report.keeps(name)}
    speeds = {provider: _speeds(kept, provider, checked) for provider in providers.PROVIDERS}
    variants = {
        name: {
            "file": FILES[name],
            "accuracy": report.of(name).accuracy,
            "agreement": report.of(name).agreement,
            "selfcheck_limit": _limit(model, checked, expected),
            "images_per_second": {provider: found[name] for provider, found in speeds.items() if name in found},
            **made.details.get(name, {}),
        }
        for name, model in kept.items()
    }
    return {"variants": variants, "preferred": _preferred(speeds, kept), "left_out": report.left_out}


def kept_files(made: Made, report: ParityReport) -> dict[str, bytes]:
    """The files of the variants that passed, by their names in the bundle."""
    return {FILES[name]: model for name, model in made.graphs.items() if report.keeps(name)}


def _preferred(speeds: Mapping[str, Mapping[str, float]], kept: Mapping[str, bytes]) -> dict[str, str]:
    """By provider the fastest variant; where CUDA cannot be measured fp16, made for it."""
    found = {provider: max(each, key=lambda name: each[name]) for provider, each in speeds.items() if each}
    unmeasured = {"cuda": "fp16" if "fp16" in kept else "fp32", "openvino": found["cpu"]}
    return {**unmeasured, **found}


def _speeds(kept: Mapping[str, bytes], provider: str, checked: Pixels) -> dict[str, float]:
    """To two digits, so that nobody takes noise for a difference; empty where the provider does not load."""
    runners = {}
    for name in CANDIDATES[provider]:
        if name not in kept:
            continue
        try:
            runners[name] = runtimes.onnx_runner(kept[name], provider)
        except Exception:  # noqa: S112 - a provider that cannot load has no speed
            continue
    images = parity.seeded_noise(SPEED_BATCH, checked.shape[1], checked.shape[3])
    found = speed.pictures_per_second(runners, images, rounds=SPEED_ROUNDS, seconds=SPEED_SECONDS)
    return {name: float(f"{value:.2g}") for name, value in found.items()}


def _limit(model: bytes, checked: Pixels, expected: Outputs) -> float:
    """Twice what is found here, as other processors round 8 and 16 bits in other places."""
    found = runtimes.onnx_runner(model)(checked)
    worst = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    return max(2 * worst, SELFCHECK_LIMIT)
