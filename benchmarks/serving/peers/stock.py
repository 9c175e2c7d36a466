"""BentoML as its guides show it: a batchable API that takes pictures, one worker for each core, the other defaults."""

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from benchmarks.serving.peers.common import Classifier


@bentoml.service(workers="cpu_count", logging={"access": {"enabled": False}})
class Stock:
    """Classifies pictures."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(batchable=True)
    def classify(self, images: list[Image]) -> list[dict[str, Any]]:
        """Classify the pictures of as many requests as BentoML puts together."""
        pixels = np.stack([self._classifier.decode(image) for image in images])
        return self._classifier.predictions(self._classifier.probabilities(pixels))
