"""A foreign classifier in a bundle: the original's answers, any batch, the service's contract; or nothing at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export import imported, original, parity, wrapping
from export.bundle import MODEL, Bundle
from export.foreign import Foreign, ForeignError
from export.verdicts import ParityError
from export.wrapping import Normalisation
from service.engines import loading
from service.engines.engine import EngineError
from tests.unit.foreigners import (
    CLASSES,
    NORMALISATION,
    SIZE,
    by_torch,
    exported,
    model,
    nodes,
    picture,
    read,
    scores,
    weight,
)


def imported_from(source: Foreign, out: Path) -> Bundle:
    written, _ = imported.import_model(source, CLASSES, NORMALISATION, out, name="farm")
    return written


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("exporter", ["classic", "dynamo"])
def test_the_service_gives_what_torch_gives_behind_torchvisions_preprocessing(
    tmp_path: Path, exporter: str, batch: int | None
) -> None:
    written = imported_from(read(tmp_path, exported(exporter, batch)), tmp_path / "bundle")
    engine = loading.load("onnx-cpu", written)
    for count in (1, 2, 5, 64):
        images = parity.seeded_noise(count, SIZE, 3, seed=count)
        expected, found = by_torch(images), engine.run(images)
        np.testing.assert_allclose(found.logits, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.probabilities, torch.softmax(expected, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["torch-cpu", "torch-cuda"])
def test_pytorch_is_no_fallback_for_it_and_says_so(tmp_path: Path, name: str) -> None:
    written = imported_from(read(tmp_path, exported("classic")), tmp_path / "bundle")
    with pytest.raises(EngineError, match="imported as ONNX and has no PyTorch weights"):
        loading.load(name, written)


def test_of_probabilities_the_logarithms_are_the_logits_and_the_probabilities_stay(tmp_path: Path) -> None:
    written = imported_from(read(tmp_path, exported("classic", last=nn.Softmax(1))), tmp_path / "bundle")
    images = parity.seeded_noise(5, SIZE, 3)
    found, shares = loading.load("onnx-cpu", written).run(images), torch.softmax(by_torch(images), 1)
    np.testing.assert_allclose(found.probabilities, shares, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.logits, shares.log(), rtol=0, atol=1e-5)
    assert written.document["provenance"]["imported"]["gives"] == "probabilities"


def test_a_probability_of_zero_has_a_finite_logit(tmp_path: Path) -> None:
    sure = [helper.make_node("Add", ["scores", "bias"], ["sure"]), helper.make_node("Softmax", ["sure"], ["output"])]
    weights = [numpy_helper.from_array(np.zeros((3, 5), np.float32), "weight")]
    weights.append(numpy_helper.from_array(np.array([0, -200, -200, -200, -200], np.float32), "bias"))
    written = imported_from(read(tmp_path, model(made_of=nodes(*sure), weights=weights)), tmp_path / "bundle")
    found = loading.load("onnx-cpu", written).run(parity.seeded_noise(1, SIZE, 3))
    assert found.probabilities[0] == pytest.approx([1, 0, 0, 0, 0], abs=1e-12)
    assert found.logits[0] == pytest.approx([0, *[np.log(wrapping.FLOOR)] * 4], abs=1e-4)


def test_logarithms_of_probabilities_are_logits_as_they_are(tmp_path: Path) -> None:
    written = imported_from(read(tmp_path, exported("classic", last=nn.LogSoftmax(1))), tmp_path / "bundle")
    images = parity.seeded_noise(5, SIZE, 3)
    found = loading.load("onnx-cpu", written).run(images)
    np.testing.assert_allclose(found.probabilities, torch.softmax(by_torch(images), 1), rtol=0, atol=1e-6)
    assert written.document["provenance"]["imported"]["gives"] == "logits"


@pytest.mark.parametrize("opset", [7, 8, 12, 13, 17, 20, 22])
def test_opsets_from_7_on_are_wrapped_in_their_own_operators(tmp_path: Path, opset: int) -> None:
    written = imported_from(read(tmp_path, model(opset=opset)), tmp_path / "bundle")
    assert written.document["provenance"]["opset"] == opset
    assert loading.load("onnx-cpu", written).run(parity.seeded_noise(3, SIZE, 3)).logits.shape == (3, 5)


def test_grey_pictures_are_imported_with_one_mean_and_one_deviation(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.arange(5, dtype=np.float32).reshape(1, 5), "weight")]
    source = read(tmp_path, model([picture(["n", 1, SIZE, SIZE])], weights=weights), channels=1)
    written, _ = imported.import_model(source, CLASSES, Normalisation((0.5,), (0.25,)), tmp_path / "b", name="grey")
    white = np.full((1, SIZE, SIZE, 1), 255, np.uint8)
    assert loading.load("onnx-cpu", written).run(white).logits[0] == pytest.approx([0, 2, 4, 6, 8])


def test_names_that_are_also_the_bundles_do_not_clash(tmp_path: Path) -> None:
    names = {"input": "images", "means": "pixels", "row": "logits", "weight": "scale", "output": "probabilities"}
    clashing = model()
    for node in clashing.graph.node:
        for part in (node.input, node.output):
            part[:] = [names[name] for name in part]
    for value in (clashing.graph.input[0], clashing.graph.output[0], clashing.graph.initializer[0]):
        value.name = names[value.name]
    expected, found = (
        loading.load("onnx-cpu", imported_from(read(tmp_path, each), tmp_path / "bundle")).run(
            parity.seeded_noise(3, SIZE, 3)
        )
        for each in (model(), clashing)
    )
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_inner_graphs_still_find_what_is_outside_of_them(tmp_path: Path) -> None:
    branch = helper.make_graph([helper.make_node("Add", ["scores", "shift"], ["sum"])], "branch", [], [scores()])
    branch.output[0].name = "sum"
    choice = helper.make_node("If", ["yes"], ["output"], then_branch=branch, else_branch=branch)
    weights = [weight(), numpy_helper.from_array(np.array(True), "yes")]
    weights.append(numpy_helper.from_array(np.arange(5, dtype=np.float32), "shift"))
    written = imported_from(read(tmp_path, model(made_of=nodes(choice), weights=weights)), tmp_path / "bundle")
    plain = imported_from(read(tmp_path, model()), tmp_path / "plain")
    images = parity.seeded_noise(3, SIZE, 3)
    found, expected = (loading.load("onnx-cpu", each).run(images).logits for each in (written, plain))
    np.testing.assert_allclose(found, expected + np.arange(5), rtol=0, atol=1e-5)


def refused(tmp_path: Path, content: Any, reason: str, classes: list[str] = CLASSES) -> None:
    """Importing this ends with the reason, and leaves nothing behind."""
    with pytest.raises(ForeignError, match=reason):
        imported.import_model(read(tmp_path, content), classes, NORMALISATION, tmp_path / "bundle", name="farm")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("classes", [CLASSES[:4], [*CLASSES, "fox"]])
def test_another_number_of_classes_is_refused(tmp_path: Path, classes: list[str]) -> None:
    reason = rf"^model\.onnx gives 5 numbers for a picture, and {len(classes)} classes are named$"
    refused(tmp_path, model(), reason, classes)


def test_an_opset_that_onnx_knows_and_onnx_runtime_does_not_yet_is_refused(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    refused(tmp_path, model(opset=newest, ir_version=onnx.IR_VERSION), r"^model\.onnx: ONNX Runtime cannot run it: ")


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    broken = [
        helper.make_node("Sub", ["scores", "scores"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["output"]),
    ]
    refused(tmp_path, model(made_of=nodes(*broken)), "gives numbers that are not finite")


def test_a_batch_that_is_fixed_deep_inside_is_refused_with_what_to_do(tmp_path: Path) -> None:
    steps = [
        helper.make_node("Expand", ["one", "shape"], ["column"]),  # as a class token is, in a transformer
        helper.make_node("Concat", ["scores", "column"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "last"], ["output"]),
    ]
    weights = {"one": np.ones((1, 1), np.float32), "shape": np.array([1, 1]), "last": np.ones((6, 5), np.float32)}
    more = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    fixed = model([picture([1, 3, SIZE, SIZE])], [scores([1, 5])], nodes(*steps), [weight(), *more])
    reason = r"takes batches of 1 alone, inside its graph too, .* export it again with a batch axis of any size"
    refused(tmp_path, fixed, rf"^model\.onnx {reason}")


def test_pictures_that_change_each_others_answers_fail_at_the_gate(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["scores", "axes"], ["mean"])
    axes = numpy_helper.from_array(np.array([0]), "axes")
    coupled = [mean, helper.make_node("Sub", ["scores", "mean"], ["output"])]
    content = model(made_of=nodes(*coupled), weights=[weight(), axes])
    with pytest.raises(ParityError):
        imported_from(read(tmp_path, content), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_model_with_functions_of_its_own_is_imported_without_them(tmp_path: Path) -> None:
    called = model(made_of=nodes(helper.make_node("twice", ["scores"], ["output"], domain="own")))
    step = helper.make_node("Add", ["x", "x"], ["y"])
    called.functions.append(helper.make_function("own", "twice", ["x"], ["y"], [step], [helper.make_opsetid("", 20)]))
    called.opset_import.append(helper.make_opsetid("own", 1))
    images = parity.seeded_noise(3, SIZE, 3)
    found, plain = (
        loading.load("onnx-cpu", imported_from(read(tmp_path, each), tmp_path / "bundle")).run(images).logits
        for each in (called, model())
    )
    np.testing.assert_allclose(found, 2 * plain, rtol=0, atol=1e-6)


def swapped(values: tuple[float, ...]) -> tuple[float, ...]:
    return values[::-1]


FAULTS: dict[str, Callable[[Normalisation], Normalisation]] = {
    "means of other channels": lambda right: replace(right, mean=swapped(right.mean)),
    "deviations of other channels": lambda right: replace(right, std=swapped(right.std)),
    "no mean": lambda right: replace(right, mean=(0.0, 0.0, 0.0)),
    "the scale of 0..255": lambda right: replace(right, std=tuple(value / 255 for value in right.std)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_our_preprocessing_fails_at_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    before = wrapping._before
    monkeypatch.setattr(wrapping, "_before", lambda right, target: before(FAULTS[fault](right), target))
    with pytest.raises(ParityError):
        imported_from(read(tmp_path, exported("classic")), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_runtime_that_onnxs_own_evaluator_contradicts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = original.in_evaluator
    monkeypatch.setattr(original, "in_evaluator", lambda source: lambda values: evaluator(source)(values) + 0.01)
    refused(tmp_path, model(), r"^onnx's reference evaluator gives other logits for model\.onnx than ONNX Runtime")


def test_a_weight_that_nothing_reads_is_left_out(tmp_path: Path) -> None:
    extra = numpy_helper.from_array(np.zeros(3, np.float32), "extra")
    content = model(weights=[weight(), extra])
    written = onnx.load_from_string(imported_from(read(tmp_path, content), tmp_path / "bundle").load(MODEL))
    assert {tensor.name for tensor in written.graph.initializer} == {"imported.weight", "scale", "offset"}
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in written.graph.initializer)
