"""The exported graph: uint8 in, preprocessing inside, any batch size."""

import numpy as np
import onnx
import pytest
import torch

from export import graph, runtimes
from export.bundle import MODEL, WEIGHTS, Bundle
from training import checkpoint
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
