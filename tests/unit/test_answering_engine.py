"""The engine that an answer names is the one that ran its pictures, whichever is in use when it is written."""

import asyncio
from typing import Any

import httpx
import pytest

from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.engines.ran import Ran
from tests.unit.batching import SHAPE, NumberEngine, assert_answers
from tests.unit.batching import pictures as numbered
from tests.unit.fakes import ChannelEngine, client_of, images, owner, png, serving_app
from training.pixels import Pixels


class Named(ChannelEngine):
    """Fails on its batches of these numbers, counted from 1."""

    def __init__(self, name: str, *failing: int) -> None:
        super().__init__()
        self.name, self._failing = name, failing

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, 3]."""
        outputs = super().run(images)
        if len(self.batches) in self._failing:
            raise RuntimeError("no memory")
        return outputs


def answers_of(engine: Named, requests: int, pictures: int, **settings: Any) -> tuple[list[Any], dict[str, Any]]:
    """What is answered to equal requests, with an engine behind the first, and what /model then says of engines."""

    async def post(client: httpx.AsyncClient) -> Any:
        return (await client.post("/classify", files=images(*map(png, range(pictures))))).json()

    async def serve() -> tuple[list[Any], dict[str, Any]]:
        async with client_of(serving_app(engine, fallback=Named("second"), **settings)) as client:
            return [await post(client) for _ in range(requests)], (await client.get("/model")).json()["engine"]

    answers, model = asyncio.run(serve())
    for answer in answers:
        assert [owner(prediction) for prediction in answer["predictions"]] == list(range(pictures))
    return answers, model


def test_a_batch_that_the_fallback_ran_is_answered_with_its_name_while_the_first_engine_stays_in_use() -> None:
    answers, model = answers_of(Named("first", 2), requests=3, pictures=2)
    assert [answer["engine"] for answer in answers] == ["first", "second", "first"]
    assert (model["name"], model["degraded"], model["failures"]) == ("first", False, {"first": 1})


def test_once_the_fallback_has_taken_over_answers_and_model_name_it() -> None:
    answers, model = answers_of(Named("first", 2, 3, 4), requests=5, pictures=1)
    assert [answer["engine"] for answer in answers] == ["first", "second", "second", "second", "second"]
    assert (model["name"], model["degraded"]) == ("second", True)


@pytest.mark.parametrize(
    ("failing", "engine"),
    [((), "first"), ((2,), "first, second"), ((1,), "second, first"), ((2, 3), "first, second"), ((1, 2, 3), "second")],
)
def test_a_request_that_was_split_over_batches_names_all_that_ran_one_in_the_order_of_first_use(
    failing: tuple[int, ...], engine: str
) -> None:
    first = Named("first", *failing)
    (answer,), _ = answers_of(first, requests=1, pictures=5, max_batch=2)
    assert answer["engine"] == engine
    assert first.batches == [2, 2, 1]


@pytest.mark.parametrize(
    ("turns", "split", "other"),
    [
        (["a", "a", "a"], ("a",), ("a",)),
        (["a", "b", "a"], ("a", "b"), ("a",)),
        (["b", "b", "a"], ("b", "a"), ("a",)),
        (["a", "b", "c"], ("a", "b", "c"), ("c",)),
    ],
)
def test_rows_come_with_the_engines_that_ran_them_each_once_in_the_order_of_first_use(
    turns: list[str], split: tuple[str, ...], other: tuple[str, ...]
) -> None:
    engine, names = NumberEngine(), iter(turns)

    async def scenario() -> None:
        batcher = Batcher(lambda images: Ran(engine.run(images), (next(names),)), SHAPE, Limits(max_batch=2))
        found = await asyncio.gather(batcher.submit(numbered(*range(5))), batcher.submit(numbered(5)))
        assert engine.batches == [[0, 1], [2, 3], [4, 5]]
        assert [ran.engines for ran in found] == [split, other]
        assert_answers(found[0], *range(5))
        await batcher.close(grace=30)

    asyncio.run(scenario())
