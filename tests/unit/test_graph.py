"""The exported graph: uint8 in, preprocessing inside, any batch size."""

import numpy as np
import onnx
import pytest
import torch

from export import graph, parity, runtimes
from export.bundle import MODEL, WEIGHTS, Bundle
from training import checkpoint, networks
from training.classifier import Classifier


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> onnx.ModelProto:
    return onnx.load_from_string(tiny_bundle.load(MODEL))


def test_the_contract_is_uint8_pictures_in_and_float32_logits_and_probabilities_out(model: onnx.ModelProto) -> None:
    contract = {
        value.name: (value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim))
        for value in (*model.graph.input, *model.graph.output)
    }
    assert contract == {
        "images": (onnx.TensorProto.UINT8, 4),
        "logits": (onnx.TensorProto.FLOAT, 2),
        "probabilities": (onnx.TensorProto.FLOAT, 2),
    }


def test_temperature_divides_the_logits_of_the_probabilities_alone() -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    classifier = Classifier(network, mean=[0.5] * 3, std=[0.25] * 3, temperature=2.0)
    run = runtimes.onnx_runner(graph.to_onnx(classifier, size=4, channels=3, classes=["a", "b", "c"]))
    images = np.full((1, 4, 4, 3), (0, 127.5, 255), np.float32).astype(np.uint8)
    # (0/255, 127/255, 255/255) with mean 0.5 and deviation 0.25 are -2, -0.0078 and 2.
    assert run(images).logits[0] == pytest.approx([-2, (127 / 255 - 0.5) / 0.25, 2], abs=1e-6)
    with torch.inference_mode():
        logits, probabilities = classifier(torch.from_numpy(images))
    assert torch.allclose(probabilities, torch.softmax(logits / 2, dim=1))


def test_a_graph_with_another_number_of_classes_is_refused(tiny_bundle: Bundle) -> None:
    classifier = checkpoint.decode(tiny_bundle.load(WEIGHTS), WEIGHTS).build_classifier()
    with pytest.raises(graph.GraphError, match="shapes"):
        graph.to_onnx(classifier, size=32, channels=3, classes=["cat", "dog"])


def pooled_first() -> Classifier:
    """A flagship of few filters that pools before its norms, whose norms have been somewhere."""
    torch.manual_seed(3)
    widths = (8, 8, 8, 8, 8)
    network = networks.build("alexnet-32", classes=3, size=16, pool_first=True, widths=widths, hidden=(8, 8))
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias)
            torch.nn.init.normal_(norm.running_mean, std=0.3)
            torch.nn.init.uniform_(norm.running_var, 0.2, 2)
    return Classifier(network, mean=[0.5] * 3, std=[0.25] * 3, temperature=1.0).eval()


def kinds(classifier: Classifier) -> list[str]:
    """The operations of the traced graph, from the first convolution on."""
    found = [node.op_type for node in graph.trace(classifier, size=16, channels=3).graph.node]
    return found[found.index("Conv") :]


def test_norms_after_a_pooling_are_folded_too_and_their_relus_stand_by_the_convolutions() -> None:
    pools = ["Conv", "Relu", "MaxPool"]
    layers = ["Conv", "Relu", *pools, *pools, "Conv", "Relu", *pools]
    assert kinds(pooled_first())[: len(layers)] == layers
    assert "BatchNormalization" not in kinds(pooled_first())


@pytest.mark.parametrize("weight", [0.7, -0.7], ids=["it rises", "it falls"])
def test_what_comes_before_a_pooling_gives_the_values_that_came_after_it(weight: float) -> None:
    classifier = pooled_first()
    _, second, *_ = (layer for layer in classifier.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    with torch.no_grad():
        second.weight[5] = weight
    images = parity.seeded_noise(9, 16, 3, seed=1)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images))[0].numpy()
        moved = graph.pooling_last(classifier)(torch.from_numpy(images))[0].numpy()
    assert np.array_equal(moved, expected)
    run = runtimes.onnx_runner(graph.to_onnx(classifier, size=16, channels=3, classes=["a", "b", "c"]))
    assert np.abs(run(images).logits - expected).max() < 1e-5
    assert kinds(classifier).count("BatchNormalization") == (weight < 0)
