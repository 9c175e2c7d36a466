"""What can be imported, and what is refused before any of it runs: with the file's name and the reason."""

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export import foreign
from export.foreign import ForeignError
from tests.unit.foreigners import external, model, nodes, picture, read, scores, weight, written


def test_a_plain_classifier_is_read(tmp_path: Path) -> None:
    content = model().SerializeToString()
    found = read(tmp_path, content)
    assert (found.name, found.content, found.batch, found.size, found.channels) == ("model.onnx", content, None, 8, 3)
    assert (found.input, found.output) == ("input", "output")


def test_a_model_of_old_is_read_whose_weights_are_inputs_too(tmp_path: Path) -> None:
    both = [picture(), helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, 5])]
    gemm = helper.make_node("Gemm", ["row", "weight", "bias"], ["output"])
    bias = helper.make_tensor_value_info("bias", TensorProto.FLOAT, [5])
    old = model(
        [*both, bias], made_of=[*nodes()[:2], gemm], weights=[weight(), weight("bias", [5])], opset=7, ir_version=3
    )
    assert read(tmp_path, old).input == "input"


@pytest.mark.parametrize("shape", [["n", 3, 8, 8], [None, 3, 8, 8], [-1, 3, 8, 8], [0, 3, 8, 8]])
def test_a_batch_of_any_size_is_told_in_many_ways(tmp_path: Path, shape: list[int | str | None]) -> None:
    assert read(tmp_path, model([picture(shape)])).batch is None


@pytest.mark.parametrize("batch", [1, 7])
def test_a_fixed_batch_is_found(tmp_path: Path, batch: int) -> None:
    assert read(tmp_path, model([picture([batch, 3, 8, 8])])).batch == batch


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], ["n", 3, 10, "w"], ["n", "c", "h", "w"], ["n", 3, 10, 10]])
def test_the_size_is_taken_from_the_option_where_the_model_takes_any(
    tmp_path: Path, shape: list[int | str | None]
) -> None:
    assert read(tmp_path, model([picture(shape)]), size=10).size == 10


Make = Callable[[], ModelProto]
NEWEST = onnx.defs.onnx_opset_version()
OTHER = helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", 5])


def opset(version: int) -> Make:
    return lambda: model(opset=version)


def of(*inputs: onnx.ValueInfoProto) -> Make:
    return lambda: model(inputs)


def giving(*outputs: onnx.ValueInfoProto) -> Make:
    return lambda: model(outputs=outputs)


def ending_in(*operators: str) -> Make:
    names = ["scores", *operators[1:], "output"]
    steps = [helper.make_node(kind, [names[n]], [names[n + 1]]) for n, kind in enumerate(operators)]
    return lambda: model(made_of=nodes(*steps))


def two_outputs() -> ModelProto:
    return model(outputs=[scores(), OTHER], made_of=nodes(*(node("Identity", to) for to in ("output", "other"))))


def node(kind: str, to: str) -> onnx.NodeProto:
    return helper.make_node(kind, ["scores"], [to])


def foreign_operator() -> ModelProto:
    node = helper.make_node("FastGelu", ["scores"], ["output"], domain="com.microsoft")
    return model(made_of=nodes(node), imports=[helper.make_opsetid("com.microsoft", 1)])


def nan_weight(kind: int) -> Make:
    values = helper.make_tensor("weight", kind, [3, 5], [float("nan"), *[1.0] * 14])
    cast = helper.make_node("Cast", ["weight"], ["full"], to=TensorProto.FLOAT)
    gemm = helper.make_node("MatMul", ["row", "full"], ["output"])
    return lambda: model(made_of=[*nodes()[:2], cast, gemm], weights=[values])


REFUSED: list[tuple[Make, str]] = [
    (opset(6), "opset 6 is older than 7, the oldest that is run; export it again"),
    (opset(0), "opset 0 is older than 7"),
    (opset(NEWEST + 1), rf"opset {NEWEST + 1} is newer than {NEWEST}, the newest that onnx [\d.]+ knows"),
    (of(picture(), OTHER), r"it has 2 inputs \(input, other\); a classifier of NCHW pictures is needed: one float32"),
    (
        of(picture(["n", 8, 8, 3])),
        r"its input 'input' has shape \[None, 8, 8, 3\], which is NHWC; a classifier of NCHW",
    ),
    (of(picture(["n", 8, 8, 1])), "it takes pictures of 8 channels, and mean and std are given for 3"),
    (of(picture(["n", 1, 8, 8])), "it takes pictures of 1 channels, and mean and std are given for 3"),
    (of(picture(["n", 192])), r"its input 'input' has shape \[None, 192\]; a classifier of NCHW"),
    (of(picture(kind=TensorProto.UINT8)), "input is of type uint8, its input; a classifier of NCHW pictures is needed"),
    (of(picture(kind=TensorProto.FLOAT16)), "input is of type float16, its input"),
    (of(picture(["n", 3, 8, 10])), "it takes pictures of 8x10 pixels; only squares are served"),
    (
        of(picture(["n", 3, "h", "w"])),
        r"its input 'input' has shape \[None, 3, None, None\]; say with --size how large pictures are",
    ),
    (of(picture(["n", 3, 1025, 1025])), "pictures must have 1 to 1024 pixels a side, not 1025"),
    (two_outputs, r"it has 2 outputs \(output, other\); one float32 output \[N, classes\] is needed"),
    (giving(scores(kind=TensorProto.INT64)), "output is of type int64, its output; one float32 output"),
    (giving(scores(["n", 5, 1, 1])), r"its output 'output' has shape \[None, 5, 1, 1\]; one float32 output"),
    (ending_in("Sigmoid"), "it ends in Sigmoid: each class has a probability of its own"),
    (ending_in("Sigmoid", "Identity", "Flatten"), "it ends in Sigmoid"),
    (foreign_operator, r"it uses FastGelu of com\.microsoft; only ONNX's own operators are taken"),
    (nan_weight(TensorProto.FLOAT), "weight has weights that are not finite"),
    (nan_weight(TensorProto.FLOAT16), "weight has weights that are not finite"),
    (lambda: model(made_of=nodes(helper.make_node("Nonsense", ["scores"], ["output"]))), "the ONNX checker refuses it"),
    (lambda: model(weights=[weight("unused")]), "the ONNX checker refuses it"),
    (ModelProto, "it is not an ONNX file with a graph"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_is_no_such_classifier_is_refused_with_file_and_reason(tmp_path: Path, make: Make, reason: str) -> None:
    with pytest.raises(ForeignError, match=rf"^{re.escape(str(tmp_path))}/model\.onnx: {reason}"):
        read(tmp_path, make())


def test_external_data_is_refused_although_the_other_file_is_there(tmp_path: Path) -> None:
    with pytest.raises(ForeignError, match=r"model\.onnx: weight is kept in another file \(external data\)"):
        read(tmp_path, external(tmp_path))


@pytest.mark.parametrize("size", [7, 1024])
def test_another_size_than_the_models_own_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ForeignError, match=f"it takes pictures of 8x8 pixels, not of --size {size}"):
        read(tmp_path, model(), size=size)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" * 4, b"\x80\x00\x00\x00pickle"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ForeignError, match=r"model\.onnx: it is not an ONNX file"):
        read(tmp_path, content)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    content = model().SerializeToString()
    for length in range(0, len(content), 7):
        with pytest.raises(ForeignError):
            read(tmp_path, content[:length])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ForeignError, match=f"^{re.escape(str(path))} cannot be read: "):
            foreign.read(path, channels=3, size=None)


def test_a_file_larger_than_onnx_allows_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate((2 << 30) + 1)
    with pytest.raises(ForeignError, match="is larger than 2 GiB"):
        foreign.read(tmp_path / "large.onnx", channels=3, size=None)


def test_functions_are_written_out_where_they_are_called(tmp_path: Path) -> None:
    called = model(made_of=nodes(helper.make_node("double", ["scores"], ["output"], domain="own")))
    step = helper.make_node("Add", ["x", "x"], ["y"])
    called.functions.append(helper.make_function("own", "double", ["x"], ["y"], [step], [helper.make_opsetid("", 20)]))
    called.opset_import.append(helper.make_opsetid("own", 1))
    found = read(tmp_path, called)
    assert [node.op_type for node in found.model.graph.node][-1] == "Add"
    assert not found.model.functions


def test_a_link_to_a_model_is_followed_as_the_user_named_it(tmp_path: Path) -> None:
    written(tmp_path / "v1.onnx", model())
    (tmp_path / "latest.onnx").symlink_to("v1.onnx")
    assert foreign.read(tmp_path / "latest.onnx", channels=3, size=None).name == "latest.onnx"


def test_what_was_read_is_what_will_run(tmp_path: Path) -> None:
    found = read(tmp_path, model())
    assert onnx.load_model_from_string(found.content) == found.model
    assert numpy_helper.to_array(found.model.graph.initializer[0]).shape == (3, 5)
