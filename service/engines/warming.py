"""An engine that has run every size of batch once, so that no request pays for the first time."""

from collections.abc import Sequence

import numpy as np

from export.bundle import Bundle, Outputs
from service.engines.engine import Engine, EngineError
from training.pixels import Pixels


def buckets(most: int) -> tuple[int, ...]:
    """The powers of two below `most`, and `most`."""
    return (*(1 << power for power in range((most - 1).bit_length())), most)


class Padded:
    """An engine that gets batches of few sizes only: cuDNN plans, and allocates, anew for each size it meets."""

    def __init__(self, engine: Engine, sizes: Sequence[int]) -> None:
        self.name, self.device, self.variant = engine.name, engine.device, engine.variant
        self._engine, self._sizes = engine, sizes

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C], among black ones up to the next size; larger batches as they are."""
        count = len(images)
        size = next((size for size in self._sizes if size >= count), count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        outputs = self._engine.run(images)
        return Outputs(outputs.logits[:count], outputs.probabilities[:count])


def ready(engine: Engine, bundle: Bundle, most: int) -> Engine:
    """The engine after a batch of every bucket up to `most`, padded on CUDA. Raises EngineError where one fails."""
    sizes = buckets(most)
    if engine.device == "cuda":
        engine = Padded(engine, sizes)
    for size in sizes:
        try:
            engine.run(np.zeros((size, bundle.size, bundle.size, bundle.channels), np.uint8))
        except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
            raise EngineError(f"it cannot run {size} pictures at once ({type(error).__name__}: {error})") from error
    return engine
