"""The checkpoint: one safetensors file that describes itself; the contract between training and export.

The header holds one key, `alexnet`, with everything as sorted JSON (several keys would be written in a random order),
so equal content gives equal bytes. Nothing in it is pickled. Format 2 added the energy threshold and the measures;
format 1 is still read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from training import networks, tensorfile
from training.classifier import Classifier
from training.files import write_atomically

FORMAT_VERSION = 2
READABLE = (1, 2)
SINCE_2 = frozenset({"energy_threshold", "measures"})
HEADER_KEY = "alexnet"


class CheckpointError(Exception):
    """The file is not a checkpoint that this version can use; the message names the file and the reason."""


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of itself. Everything is plain JSON: numbers, strings, lists and objects of them."""

    network: str
    arguments: dict[str, Any]
    classes: list[str]
    size: int  # side of a picture in pixels
    channels: int
    mean: list[float]  # per channel, on the scale 0..1
    std: list[float]
    recipe: dict[str, Any]
    seed: int
    data: dict[str, Any]  # name and numbers of pictures: fit, validation, test
    temperature: float = 1.0  # divides the logits before the softmax; fitted on the validation pictures
    energy_threshold: float | None = None  # pictures with more energy are unknown; None where it was never fitted
    accuracy: dict[str, float] = field(default_factory=dict)  # shares in 0..1: validation, test
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch, as in metrics.jsonl
    measures: dict[str, Any] = field(default_factory=dict)  # of the test pictures: calibration, confusion, robustness
    provenance: dict[str, Any] = field(default_factory=dict)  # device, versions, git commit
    weights_sha256: str = ""  # names these very weights; set by `encode`
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Checkpoint:
    """Metadata and weights: a state dict of the bare network, float32 or in part float16 (`training/storage.py`)."""

    metadata: Metadata
    weights: dict[str, Tensor]

    def build_network(self) -> nn.Module:
        """The float32 network with these weights, for evaluation. Raises CheckpointError where they do not fit it."""
        meta = self.metadata
        try:
            network = networks.build(
                meta.network, classes=len(meta.classes), channels=meta.channels, size=meta.size, **meta.arguments
            )
            network.load_state_dict(self.weights)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"the weights do not fit network {meta.network!r}: {error}") from error
        return network.eval()

    def build_classifier(self) -> Classifier:
        """The serving module: uint8 pictures to logits and probabilities."""
        meta = self.metadata
        return Classifier(self.build_network(), meta.mean, meta.std, meta.temperature).eval()


def save(path: Path, metadata: Metadata, weights: Mapping[str, Tensor]) -> None:
    """Write a checkpoint atomically; the same metadata and weights give the same bytes."""
    write_atomically(path, encode(metadata, weights))


def encode(metadata: Metadata, weights: Mapping[str, Tensor]) -> bytes:
    """The bytes of a checkpoint file."""
    return tensorfile.encode(
        weights, HEADER_KEY, {**asdict(metadata), "weights_sha256": tensorfile.tensors_sha256(weights)}
    )


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint. Raises CheckpointError for a damaged, foreign or newer file."""
    return decode(read(path), str(path))


def read(path: Path) -> bytes:
    """The bytes of a checkpoint's file, unchecked. Raises CheckpointError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def decode(content: bytes, source: str) -> Checkpoint:
    """The checkpoint in `content`; `source` names it in errors. Raises CheckpointError."""
    try:
        weights, description = tensorfile.decode(content, HEADER_KEY)
    except tensorfile.TensorFileError as error:
        raise CheckpointError(f"{source} is not a checkpoint: {error}") from error
    return Checkpoint(_metadata(source, description), weights)


def require_finished(found: Checkpoint, source: str) -> None:
    """Raise CheckpointError where a run has not read its test pictures, as it does at its end; `source` names it."""
    if "test" in found.metadata.accuracy:
        return
    if found.metadata.recipe.get("test_images") == 0:
        raise CheckpointError(
            f"{source} is of a trial, which leaves the test pictures unread: train without test_images=0"
        )
    raise CheckpointError(f"{source} is of an unfinished run: finish it with --resume")


def _metadata(source: str, description: dict[str, Any]) -> Metadata:
    """Metadata of the current format, whichever the file has: what an older one lacks takes its default."""
    version = description.get("format_version")
    if version not in READABLE:
        raise CheckpointError(
            f"{source} has checkpoint format {version}, this version reads formats 1 and 2; "
            "use the version of alexnet-service that wrote it, or a newer one"
        )
    names = {entry.name for entry in fields(Metadata)} - (SINCE_2 if version == 1 else set())
    if wrong := sorted(set(description) ^ names):
        raise CheckpointError(f"{source} is damaged: unknown or missing in its description: {', '.join(wrong)}")
    return Metadata(**description | {"format_version": FORMAT_VERSION})
