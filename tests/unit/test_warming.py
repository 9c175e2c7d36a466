"""Before an engine serves it has run every size of batch; on CUDA it meets no other sizes."""

from dataclasses import replace

import numpy as np
import pytest

from export.bundle import Outputs
from service.engines.engine import EngineError
from service.engines.warming import Padded, buckets, ready
from tests.unit.fakes import BUNDLE, SIZE, ChannelEngine
from training.pixels import Pixels


def pictures(count: int) -> Pixels:
    """The first is black, and each one after it redder by one."""
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    images[..., 0] = np.arange(count).reshape(-1, 1, 1)
    return images


class CudaEngine(ChannelEngine):
    """Says that it runs on CUDA."""

    device = "cuda"


class SmallEngine(ChannelEngine):
    """Has no memory for more than four pictures."""

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, 3], or raise."""
        if len(images) > 4:
            raise MemoryError("out of memory")
        return super().run(images)


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (9, (1, 2, 4, 8, 9))]
)
def test_buckets_are_the_powers_of_two_and_the_largest_batch(most: int, sizes: tuple[int, ...]) -> None:
    assert buckets(most) == sizes


def test_an_engine_is_ready_when_it_has_run_every_bucket() -> None:
    engine = ChannelEngine()
    assert ready(engine, BUNDLE, 6) is engine
    assert engine.batches == [1, 2, 4, 6]


def test_grey_pictures_are_those_of_the_bundle() -> None:
    class Shapes(ChannelEngine):
        def run(self, images: Pixels) -> Outputs:
            assert images.shape[1:] == (SIZE, SIZE, 1)
            assert images.dtype == np.uint8
            return super().run(images)

    grey = replace(BUNDLE, document={**BUNDLE.document, "input": {"size": SIZE, "channels": 1}})
    ready(Shapes(), grey, 2)


def test_an_engine_without_memory_for_the_largest_batch_is_refused_before_it_serves() -> None:
    with pytest.raises(EngineError, match=r"^it cannot run 8 pictures at once \(MemoryError: out of memory\)$"):
        ready(SmallEngine(), BUNDLE, 8)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 6), (6, 6), (7, 7)])
def test_on_cuda_a_batch_is_padded_to_the_next_bucket_and_the_answers_are_those_without(count: int, size: int) -> None:
    engine = CudaEngine()
    padded = ready(engine, BUNDLE, 6)
    assert (padded.name, padded.device) == ("channel-fake", "cuda")
    outputs, expected = padded.run(pictures(count)), ChannelEngine().run(pictures(count))
    assert engine.batches == [1, 2, 4, 6, size]
    np.testing.assert_array_equal(outputs.logits, expected.logits, strict=True)
    np.testing.assert_array_equal(outputs.probabilities, expected.probabilities, strict=True)


def test_elsewhere_batches_are_not_padded() -> None:
    assert not isinstance(ready(ChannelEngine(), BUNDLE, 4), Padded)
