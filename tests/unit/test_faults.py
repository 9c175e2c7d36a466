"""Faults planted into an export, each of which the gate must catch; and the same export without one, which passes."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import nn

from export import assemble, bundle, gate, graph, onnxfile, parity, runtimes
from export import pictures as gate_pictures
from export.__main__ import main
from export.bundle import Bundle
from export.parity import Pictures, Questions
from export.verdicts import ParityError
from tests.unit.bundles import edit, put
from training import checkpoint
from training.classifier import Classifier
from training.data import sources
from training.loop import Result

CLASSES = ["cat", "dog", "frog", "horse"]
SIZE = 8
Change = Callable[[ModelProto], object]


@cache
def classifier() -> Classifier:
    """Convolution, batch norm, dropout and linear layers with random weights and statistics; the last is square."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert values is not None
        values.uniform_(0.5, 2)
    layers = [nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 4), nn.Linear(4, 4)]
    return Classifier(nn.Sequential(*layers), [0.5, 0.4, 0.3], [0.2, 0.25, 0.3], 1.5).eval()


@cache
def questions() -> Questions:
    return parity.ask(runtimes.torch_runner(classifier()), gate_pictures.default(SIZE, 3))


@cache
def exported() -> bytes:
    return graph.to_onnx(classifier(), size=SIZE, channels=3, classes=CLASSES)


def changed(change: Change) -> bytes:
    model = onnx.load_from_string(exported())
    change(model)
    return bytes(model.SerializeToString())


def fault_of(model: bytes) -> str:
    """What the gate says of it on the CPU. Fails where it lets it pass."""
    with pytest.raises(ParityError) as caught:
        gate.judge(questions(), {"fp32": model}, evaluated=False)
    return caught.value.report.of("fp32").fault


def weight(model: ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name.endswith(name))


def replace(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def swap_channels(model: ModelProto) -> None:
    kernel = weight(model, "0.weight")
    replace(kernel, numpy_helper.to_array(kernel)[:, ::-1])


def drop_normalisation(model: ModelProto) -> None:
    for name, value in (("pixel_scale", 1 / 255), ("pixel_offset", 0)):
        tensor = weight(model, name)
        replace(tensor, np.full_like(numpy_helper.to_array(tensor), value))


def transpose_last_weight(model: ModelProto) -> None:
    matrix = weight(model, "6.weight")
    replace(matrix, numpy_helper.to_array(matrix).T)


def reverse_classes(model: ModelProto) -> None:
    for name in ("6.weight", "6.bias"):
        tensor = weight(model, name)
        replace(tensor, numpy_helper.to_array(tensor)[::-1])


def flip_exponent_bit(model: ModelProto) -> None:
    kernel = weight(model, "0.weight")
    bits = numpy_helper.to_array(kernel).copy().view(np.uint32)
    bits.flat[7] ^= np.uint32(1 << 27)
    replace(kernel, bits.view(np.float32))


def before_flattening(model: ModelProto, *nodes: NodeProto, **constants: object) -> None:
    """Put `nodes`, which make `dropped` of `features`, where dropout is in the network."""
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    number = next(n for n, node in enumerate(model.graph.node) if node.op_type in ("Reshape", "Flatten"))
    source, model.graph.node[number].input[0] = model.graph.node[number].input[0], "dropped"
    for node in (*reversed(nodes), helper.make_node("Identity", [source], ["features"])):
        model.graph.node.insert(number, node)


def leave_dropout_on(model: ModelProto) -> None:
    """As its own formula: a value is kept where a random number is above the rate, and doubled."""
    before_flattening(
        model,
        helper.make_node("RandomUniformLike", ["features"], ["random"], low=0.0, high=1.0, seed=1.0),
        helper.make_node("Greater", ["random", "half"], ["kept"]),
        helper.make_node("Where", ["kept", "two", "zero"], ["factor"]),
        helper.make_node("Mul", ["features", "factor"], ["dropped"]),
        half=np.float32(0.5),
        two=np.float32(2),
        zero=np.float32(0),
    )


def leave_dropout_in_training_mode(model: ModelProto) -> None:
    """As the operator, which ONNX Runtime takes for none on the CPU, and other runtimes do not."""
    dropout = helper.make_node("Dropout", ["features", "half", "on"], ["dropped"])
    before_flattening(model, dropout, half=np.float32(0.5), on=np.bool_(True))


CHANGES: list[Change] = [
    swap_channels,
    drop_normalisation,
    transpose_last_weight,
    reverse_classes,
    flip_exponent_bit,
    leave_dropout_on,
]


def test_the_export_as_it_is_passes_also_by_onnxs_own_evaluator() -> None:
    report = gate.judge(questions(), {"fp32": exported()})
    assert all(verdict.passed for verdict in report.verdicts)
    assert {verdict.provider for verdict in report.verdicts} >= {"cpu", "evaluator"}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_in_the_graph_is_caught(change: Change) -> None:
    assert "differ by" in fault_of(changed(change))


def test_dropout_that_onnx_runtime_ignores_is_caught_by_onnxs_own_evaluator() -> None:
    with pytest.raises(ParityError, match="fp32 on evaluator: logits differ"):
        gate.judge(questions(), {"fp32": changed(leave_dropout_in_training_mode)})


def test_batch_norm_in_training_mode_is_caught() -> None:
    """It then normalises by the batch at hand, and not by what it learnt."""
    training = Classifier(classifier().network, [0.5, 0.4, 0.3], [0.2, 0.25, 0.3], 1.5).eval()
    norm = training.network[1]  # type: ignore[index]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm, "forward", lambda x: nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, True))
        model = graph.to_onnx(training, size=SIZE, channels=3, classes=CLASSES)
    assert "differ by" in fault_of(model)


def test_a_batch_axis_that_is_fixed_at_export_is_caught() -> None:
    def fix(model: ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 2

    assert fault_of(changed(fix)).startswith("it cannot run")


def test_an_evaluator_that_contradicts_fails_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = runtimes.evaluator
    monkeypatch.setattr(runtimes, "evaluator", lambda _: honest(changed(swap_channels)))
    with pytest.raises(ParityError, match="fp32 on evaluator: logits differ"):
        gate.judge(questions(), {"fp32": exported()})


def test_a_variant_that_fails_in_one_runtime_alone_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = runtimes.onnx_runner(changed(reverse_classes))
    int8 = changed(lambda model: model.metadata_props.pop())
    monkeypatch.setattr(runtimes, "other_runners", lambda model: [("openvino", wrong)] if model == int8 else [])
    report = gate.judge(questions(), {"fp32": exported(), "int8": int8}, evaluated=False)
    assert report.of("int8").passed
    assert "answers are others" in report.left_out["int8"]
    assert report.left_out["int8"].startswith("on openvino ")


def test_classes_in_another_order_than_the_checkpoints_are_refused_by_their_names() -> None:
    onnxfile.require_classes(exported(), CLASSES)
    with pytest.raises(
        ValueError, match=r"the graph names the classes \['cat', 'dog'.*the checkpoint \['horse', 'frog'"
    ):
        onnxfile.require_classes(exported(), CLASSES[::-1])


def test_classes_in_another_order_are_refused_by_their_accuracy_on_labelled_pictures(
    tiny_run: Result, tmp_path: Path
) -> None:
    test = sources.load("synthetic", None).test
    swapped = test.labels.numpy().copy()
    swapped[test.labels.numpy() == 0], swapped[test.labels.numpy() == 5] = 5, 0
    asked = Pictures(test.images.numpy(), swapped, "500 pictures")
    found = gate_pictures.Labelled(asked, asked)
    with pytest.raises(ValueError, match="the classes are in another order"):
        assemble.export(tiny_run.path, tmp_path / "bundle", found)
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def copied(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle.directory, tmp_path / "copy"))


def test_a_bundle_is_verified_and_stays_as_it_was(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = bundle.read(copied).sha256
    assert main(["--verify-only", str(copied)]) == 0
    assert bundle.read(copied).sha256 == before
    assert f"verified: {copied}" in capsys.readouterr().out.replace("\n", "")


def test_any_flipped_bit_is_refused_by_its_hash(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((copied / bundle.MODEL).read_bytes())
    content[-len(content) // 3] ^= 1
    (copied / bundle.MODEL).write_bytes(content)
    assert main(["--verify-only", str(copied)]) == 1
    assert "model.onnx differs from what bundle.json promised" in capsys.readouterr().err


def test_a_flipped_exponent_bit_under_a_new_hash_is_refused_by_the_numbers(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load_from_string((copied / bundle.MODEL).read_bytes())
    flip_exponent_bit(model)
    put(copied, bundle.MODEL, model.SerializeToString())
    assert main(["--verify-only", str(copied)]) == 1
    output = capsys.readouterr()
    assert "FAIL" in output.out
    assert "error: the ONNX graph does not give the network's answers (fp32 on cpu: logits differ" in output.err


def test_a_bundle_whose_classes_are_not_its_checkpoints_is_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(copied, lambda document: document.update(classes=document["classes"][::-1]))
    assert main(["--verify-only", str(copied)]) == 1
    assert "are not, or not in the order of, bundle.json's" in capsys.readouterr().err


def test_an_imported_bundle_cannot_be_verified_and_says_so(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / bundle.WEIGHTS).unlink()
    edit(copied, lambda document: document["files"].pop(bundle.WEIGHTS))
    assert main(["--verify-only", str(copied)]) == 1
    assert "has no PyTorch weights to compare with; import the original again" in capsys.readouterr().err


def test_the_report_lies_in_the_bundle_for_programs_and_for_people(tiny_bundle: Bundle) -> None:
    found = json.loads(tiny_bundle.load("parity.json"))
    text = tiny_bundle.load("parity.md").decode()
    assert found["verdicts"][0].items() >= {"variant": "fp32", "provider": "cpu", "passed": True}.items()
    assert tiny_bundle.load("parity.png").startswith(b"\x89PNG")
    for verdict in found["verdicts"]:
        assert f"## {verdict['variant']} on {verdict['provider']}: passed" in text
        assert verdict["limits"]["why"] in text


def test_a_checkpoint_reads_as_it_was_measured(tiny_run: Result) -> None:
    source = checkpoint.load(tiny_run.path)
    test = sources.load("synthetic", None).test
    asked = parity.ask(
        runtimes.torch_runner(source.build_classifier()), Pictures(test.images.numpy(), test.labels.numpy(), "all")
    )
    gate.require_accuracy(asked, source.metadata.accuracy["test"])
