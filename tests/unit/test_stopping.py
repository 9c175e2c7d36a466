"""A server that is to stop: its requests have some time to end, and then they are refused."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from service.stopping import Grace, after_signal
from tests.unit.fakes import HeldEngine, client_of, owner, png, serving_app

STOPPING = "the server stops, and had no more time for this request"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that reach whoever handled them before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    reached: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda given, _: reached.append(given))
    yield reached
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_waits_at_the_end_of_the_grace_is_refused_and_gives_up_its_place() -> None:
    async def serve() -> tuple[httpx.Response, list[int]]:
        engine = HeldEngine()
        app = serving_app(engine)
        async with client_of(app) as client:
            running = asyncio.create_task(client.post("/classify", content=png(1)))
            await engine.entered()
            waiting = asyncio.create_task(client.post("/classify", content=png(2)))
            await asyncio.sleep(0.05)
            app.state.serving.grace.end()
            answers = await asyncio.gather(running, waiting)
            engine.go_on()
        assert [answer.status_code for answer in answers] == [503, 503]
        return answers[1], engine.batches

    refused, batches = asyncio.run(serve())
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["detail"] == STOPPING
    assert batches == [1]


def test_a_body_that_does_not_come_to_an_end_is_waited_for_no_longer() -> None:
    async def serve() -> list[Message]:
        sent: list[Message] = []
        reading = asyncio.Event()

        async def receive() -> Message:
            reading.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        app = serving_app()
        async with app.state.make_serving() as app.state.serving:
            scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/classify"}
            asked = asyncio.create_task(app({**scope, "query_string": b"", "headers": []}, receive, send))
            await reading.wait()
            app.state.serving.grace.end()
            await asked
        return sent

    assert asyncio.run(serve())[0]["status"] == 503


def test_an_answer_that_was_given_is_not_taken_back() -> None:
    async def serve() -> tuple[int, int]:
        app = serving_app()
        async with client_of(app) as client:
            answer = await client.post("/classify", content=png(7))
            app.state.serving.grace.end()
        return answer.status_code, owner(answer.json()["predictions"][0])

    assert asyncio.run(serve()) == (200, 7)


def test_who_is_cancelled_for_another_reason_stays_so() -> None:
    async def answer(grace: Grace) -> None:
        with grace.request():
            await asyncio.Event().wait()

    async def serve() -> None:
        task = asyncio.create_task(answer(Grace()))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(serve())


@pytest.mark.parametrize("number", SIGNALS)
def test_the_grace_begins_with_a_signal_which_does_what_it_did_before(handled: list[int], number: int) -> None:
    async def serve() -> None:
        over = asyncio.Event()
        after_signal(0.01, over.set)
        signal.raise_signal(number)
        assert not over.is_set()
        await over.wait()

    asyncio.run(serve())
    assert handled == [number]
