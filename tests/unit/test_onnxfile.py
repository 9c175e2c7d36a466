"""What no ONNX file of a bundle may have, wherever in the file it hides, and what every one says of itself."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from export import graph, manifest, onnxfile
from export.bundle import MODEL, WEIGHTS, Bundle
from training.classifier import Classifier

Place = Callable[[TensorProto], ModelProto]


def in_model(*nodes: Any, initializer: Any = (), **parts: Any) -> ModelProto:
    """A model with these nodes and weights; it need not run."""
    made = helper.make_graph(list(nodes), "graph", [], [], list(initializer), **parts)
    return helper.make_model(made, producer_name="elsewhere", producer_version="1.0")


def as_constant(tensor: TensorProto) -> Any:
    """The tensor in a node, as exporters write small ones."""
    return helper.make_node("Constant", [], ["value"], name="five", value=tensor)


def as_weight(tensor: TensorProto) -> ModelProto:
    return in_model(initializer=[tensor])


def in_constant(tensor: TensorProto) -> ModelProto:
    return in_model(as_constant(tensor))


def in_branch(tensor: TensorProto) -> ModelProto:
    """In a node of a graph in a node of a graph in a node."""
    inner = helper.make_graph([as_constant(tensor)], "inner", [], [])
    middle = helper.make_graph([helper.make_node("If", ["c"], ["x"], then_branch=inner)], "middle", [], [])
    return in_model(helper.make_node("If", ["c"], ["y"], else_branch=middle))


def in_function(tensor: TensorProto) -> ModelProto:
    model = in_model(helper.make_node("f", [], ["y"], domain="own"))
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "f", [], ["value"], [as_constant(tensor)], imports))
    return model


def as_sparse_weight(tensor: TensorProto) -> ModelProto:
    places = numpy_helper.from_array(np.arange(2), "places")
    return in_model(sparse_initializer=[helper.make_sparse_tensor(tensor, places, [9])])


def in_list(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("Any", [], ["y"])
    node.attribute.append(AttributeProto(name="all", type=AttributeProto.TENSORS, tensors=[tensor]))
    return in_model(node)


PLACES = [as_weight, in_constant, in_branch, in_function, as_sparse_weight, in_list]


def weight(value: float, kind: int = TensorProto.FLOAT) -> TensorProto:
    """Two numbers, of which the second is `value`."""
    return helper.make_tensor("kernel", kind, [2], [1.0, value])


def external() -> TensorProto:
    tensor = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_refused_wherever_it_is(place: Place) -> None:
    with pytest.raises(ValueError, match=r"is kept in another file \(external data\); save the model as one file"):
        onnxfile.refuse_external_data(place(external()))


@pytest.mark.parametrize("place", PLACES)
def test_weights_inside_the_file_pass(place: Place) -> None:
    onnxfile.refuse_external_data(place(weight(2.0)))
    onnxfile.refuse_unfinite_numbers(place(weight(2.0)))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_finite_number_is_refused_wherever_it_is(place: Place, value: float) -> None:
    with pytest.raises(ValueError, match=r"weights that are not finite numbers \(NaN or infinite\)"):
        onnxfile.refuse_unfinite_numbers(place(weight(value)))


@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT8E5M2]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_it_is_refused_in_any_precision_and_named(kind: int, value: float) -> None:
    onnxfile.refuse_unfinite_numbers(as_weight(weight(2.0, kind)))
    tensor = helper.make_tensor("kernel", kind, [2], [1.0, value])
    if kind == TensorProto.FLOAT8E5M2 and value == np.inf:
        tensor.ClearField("int32_data")
        tensor.raw_data = bytes([0x3C, 0x7C])  # onnx's own writer rounds infinity to the largest number
    with pytest.raises(ValueError, match=r"^kernel has weights"):
        onnxfile.refuse_unfinite_numbers(as_weight(tensor))


def test_a_double_beyond_float32_is_finite() -> None:
    onnxfile.refuse_unfinite_numbers(as_weight(weight(1e300, TensorProto.DOUBLE)))


@pytest.mark.parametrize("value", [{"value_float": float("nan")}, {"value_floats": [1.0, float("inf")]}])
def test_a_number_of_a_node_is_refused_too(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(value))} of Constant has weights"):
        onnxfile.refuse_unfinite_numbers(in_model(helper.make_node("Constant", [], ["x"], **value)))


def test_a_weight_with_fewer_bytes_than_its_shape_needs_is_refused() -> None:
    tensor = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=b"1234")
    with pytest.raises(ValueError, match=r"^kernel is damaged"):
        onnxfile.refuse_unfinite_numbers(as_weight(tensor))


@pytest.mark.parametrize("stored_as", ["float32", "float16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_with_such_a_weight_is_not_exported(stored_as: str, value: float) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(48, 32)
    if stored_as == "float16":
        linear.weight.data = linear.weight.data.half().float()
    linear.weight.data[3, 7] = value
    network = torch.nn.Sequential(torch.nn.Flatten(), linear)
    with pytest.raises(graph.GraphError, match=r"network\.1\.weight(\.float16)? has weights that are not finite"):
        graph.to_onnx(
            Classifier(network, [0.5] * 3, [0.25] * 3, 1.0), size=4, channels=3, classes=[str(n) for n in range(32)]
        )


def test_a_bundles_graph_says_what_it_is_in_sorted_properties(tiny_bundle: Bundle) -> None:
    model = onnx.load_from_string(tiny_bundle.load(MODEL))
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert list(found) == sorted(found)
    assert json.loads(found.pop("classes")) == list(tiny_bundle.classes)
    assert json.loads(found.pop("input")) == manifest.input_contract(32, 3) == tiny_bundle.document["input"]
    assert found == {
        "checkpoint_sha256": tiny_bundle.document["files"][WEIGHTS]["sha256"],
        "exporter": f"pytorch {torch.__version__}",
        "ir_version": str(model.ir_version),
        "opset": str(graph.OPSET),
        "producer": "alexnet-service 0.1.0",
    }


def test_bundle_json_has_the_same_facts(tiny_bundle: Bundle) -> None:
    found, told = onnxfile.labels(tiny_bundle.load(MODEL)), tiny_bundle.document["provenance"]
    for name in ("checkpoint_sha256", "exporter", "ir_version", "opset", "producer"):
        assert str(told[name]) == found[name]


def test_labels_replace_what_somebody_else_wrote() -> None:
    model = in_model()
    helper.set_model_props(model, {"note": "from /home/me"})
    onnxfile.label(model, classes=["b", "a"], contract={"size": 1}, source={"source_sha256": "0"})
    found = onnxfile.labels(model.SerializeToString())
    assert list(found) == ["classes", "exporter", "input", "ir_version", "opset", "producer", "source_sha256"]
    assert (found["classes"], found["exporter"]) == ('["b", "a"]', "elsewhere 1.0")


def test_stripping_leaves_no_word_about_the_machine_anywhere() -> None:
    def spoil(part: Any) -> None:
        part.doc_string = "/home/me/train.py"
        if not isinstance(part, AttributeProto):
            part.metadata_props.add(key="stack", value="/home/me/train.py")

    model = in_branch(weight(1.0))
    model.graph.input.append(helper.make_tensor_value_info("x", 1, [1]))
    inner: GraphProto = model.graph.node[0].attribute[0].g
    for part in (model, model.graph, model.graph.input[0], model.graph.node[0], inner, inner.node[0]):
        spoil(part)
    spoil(model.graph.node[0].attribute[0])
    onnxfile.strip(model)
    assert b"/home/me" not in model.SerializeToString()
