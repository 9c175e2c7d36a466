"""A graph serves only as what bundle.json promises it is: inputs, outputs, classes and checkpoint."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export import bundle
from export.bundle import Bundle
from service.engines import contract, loading
from service.engines.engine import EngineError, TorchEngine
from tests.unit.bundles import CLASSES, SIZE, edit, little


@dataclass(frozen=True)
class End:
    """An input or output, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


IMAGES = End("images", "tensor(uint8)", ["batch", SIZE, SIZE, 3])
LOGITS = End("logits", "tensor(float)", ["batch", len(CLASSES)])
PROBABILITIES = replace(LOGITS, name="probabilities")


@dataclass(frozen=True)
class Session:
    """What ONNX Runtime tells of a graph."""

    inputs: list[End] = field(default_factory=lambda: [IMAGES])
    outputs: list[End] = field(default_factory=lambda: [LOGITS, PROBABILITIES])
    properties: dict[str, str] = field(default_factory=dict)

    def get_inputs(self) -> list[End]:
        """Its inputs."""
        return self.inputs

    def get_outputs(self) -> list[End]:
        """Its outputs."""
        return self.outputs

    def get_modelmeta(self) -> Any:
        """What the file says of itself."""
        return SimpleNamespace(custom_metadata_map=self.properties)


@pytest.fixture
def pets(tmp_path: Path) -> Bundle:
    """A little bundle of three classes."""
    return little(tmp_path / "pets")


@pytest.mark.parametrize("axis", ["batch", None])
def test_a_graph_that_keeps_the_promise_may_serve(pets: Bundle, axis: str | None) -> None:
    ends = [replace(end, shape=[axis, *end.shape[1:]]) for end in (IMAGES, LOGITS, PROBABILITIES)]
    assert contract.broken(Session(ends[:1], ends[1:]), pets) is None


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([IMAGES], [replace(LOGITS, shape=["batch", 2]), replace(PROBABILITIES, shape=["batch", 2])]),
        ([IMAGES], [LOGITS, replace(PROBABILITIES, shape=["batch", 4])]),
        ([IMAGES], [LOGITS, replace(PROBABILITIES, shape=["batch", "classes"])]),
        ([IMAGES], [LOGITS, replace(PROBABILITIES, shape=[])]),
        ([IMAGES], [LOGITS]),
        ([IMAGES], [LOGITS, PROBABILITIES, replace(LOGITS, name="more")]),
        ([IMAGES], [replace(LOGITS, type="tensor(float16)"), PROBABILITIES]),
        ([IMAGES, replace(IMAGES, name="more")], [LOGITS, PROBABILITIES]),
        ([replace(IMAGES, shape=[1, SIZE, SIZE, 3])], [LOGITS, PROBABILITIES]),
        ([replace(IMAGES, shape=["batch", 3, SIZE, SIZE])], [LOGITS, PROBABILITIES]),
        ([replace(IMAGES, shape=["batch", 5, 5, 3])], [LOGITS, PROBABILITIES]),
        ([replace(IMAGES, type="tensor(float)")], [LOGITS, PROBABILITIES]),
    ],
)
def test_other_inputs_or_outputs_are_named_beside_the_promise(
    pets: Bundle, inputs: list[End], outputs: list[End]
) -> None:
    told = ", ".join(f"{end.name} {end.type} {end.shape}" for end in (*inputs, *outputs))
    assert contract.broken(Session(inputs, outputs), pets) == (
        f"its graph has {told}; bundle.json promises pictures of 4x4 and 3 classes"
    )


def test_other_classes_in_the_graph_or_another_order_are_refused(pets: Bundle) -> None:
    assert contract.broken(Session(properties={"classes": json.dumps(CLASSES)}), pets) is None
    for other in (CLASSES[::-1], ["a", "b", "c"]):
        reason = contract.broken(Session(properties={"classes": json.dumps(other)}), pets)
        assert reason == "the classes in its graph are not those in bundle.json, or in another order"


def test_a_graph_of_another_checkpoint_is_refused(pets: Bundle) -> None:
    mine = pets.document["files"][bundle.WEIGHTS]["sha256"]
    assert contract.broken(Session(properties={"checkpoint_sha256": mine}), pets) is None
    reason = contract.broken(Session(properties={"checkpoint_sha256": "0" * 64}), pets)
    assert reason == "its graph was made from another checkpoint than weights.safetensors"


def test_a_graph_without_a_checkpoint_needs_none(tmp_path: Path) -> None:
    little(tmp_path / "pets")
    (tmp_path / "pets" / bundle.WEIGHTS).unlink()
    edit(tmp_path / "pets", lambda found: found["files"].pop(bundle.WEIGHTS))
    imported = bundle.read(tmp_path / "pets")
    assert contract.broken(Session(properties={"checkpoint_sha256": "0" * 64}), imported) is None


@pytest.mark.parametrize("engine", ["onnx-cpu", "torch-cpu"])
def test_classes_in_another_order_are_refused_by_every_engine(tiny_bundle: Bundle, tmp_path: Path, engine: str) -> None:
    contents = {name: tiny_bundle.load(name) for name in tiny_bundle.document["files"]}
    turned = {**tiny_bundle.document, "classes": list(tiny_bundle.classes[::-1])}
    with pytest.raises(EngineError, match=r"^the classes in .* are not those in bundle\.json, or in another order$"):
        loading.load(engine, bundle.write(tmp_path / "turned", turned, contents))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_imported_model_has_no_fallback_and_says_so(pets: Bundle, device: str) -> None:
    imported = replace(pets, document={**pets.document, "files": {}})
    with pytest.raises(EngineError, match=r"^this model was imported as ONNX and has no PyTorch weights$"):
        TorchEngine(imported, device)
