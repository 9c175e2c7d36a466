"""What every peer shares with ours, so that servers are compared and nothing else: file, pixels, form of the answer."""

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime
from PIL import Image

from export import bundle
from training.pixels import Pixels, to_pixels

# Name the directory of the bundle, and the variant of its graph as our own service's setting does.
MODEL_VARIABLE, VARIANT_VARIABLE = "BENCHMARK_MODEL", "ALEXNET_VARIANT"
TOP_K = 3


class Classifier:
    """ONNX Runtime on the bundle's own file, with one thread, as there is a worker for each core."""

    def __init__(self) -> None:
        self.bundle = bundle.read(Path(os.environ[MODEL_VARIABLE]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = self.bundle.load_variant(os.environ[VARIANT_VARIABLE])
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def decode(self, file: IO[bytes] | Image.Image) -> Pixels:
        """A picture as uint8 [size, size, channels]."""
        image = file if isinstance(file, Image.Image) else Image.open(file)
        return to_pixels(image, self.bundle.size, self.bundle.channels)

    def probabilities(self, images: Pixels) -> Any:
        """Float32 [N, K] for uint8 images [N, H, W, C]."""
        return self._session.run(["probabilities"], {"images": images})[0]

    def predictions(self, probabilities: Any) -> list[dict[str, Any]]:
        """The best classes for every row of [N, K], in the form of our service's answers."""
        return [self._prediction(row) for row in probabilities]

    def _prediction(self, row: Any) -> dict[str, Any]:
        best = np.argsort(-row, kind="stable")[:TOP_K]
        top = [
            {"label": self.bundle.classes[i], "class_id": int(i), "probability": round(float(row[i]), 6)} for i in best
        ]
        return {**top[0], "top": top}
