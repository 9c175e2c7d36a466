"""Requests that share one engine: what waits, what is refused when too much does, and what is dropped."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from service.serving import stop
from tests.unit.fakes import BrokenEngine, HeldEngine, ask, client_of, images, owner, png, serving_app

Post = Callable[[int], "asyncio.Task[httpx.Response]"]


def held(test: Callable[[HeldEngine, Post, Starlette], Awaitable[Any]], **settings: Any) -> Any:
    """Run a test whose engine holds its first batch, that of a picture of red 1."""

    async def serve() -> Any:
        engine = HeldEngine()
        app = serving_app(engine, **settings)
        async with client_of(app) as client:

            def post(red: int) -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post("/classify", content=png(red)))

            first = post(1)
            await engine.entered()
            try:
                return await test(engine, post, app)
            finally:
                engine.go_on()
                assert owner((await first).json()["predictions"][0]) == 1

    return asyncio.run(serve())


async def waiting(app: Starlette, pictures: int) -> None:
    """Until so many pictures wait."""
    while f'alexnet_queue_pictures{{worker="1"}} {pictures}.0' not in app.state.serving.metrics.text().decode():
        await asyncio.sleep(0.001)


def test_requests_that_come_while_the_engine_is_busy_share_its_next_batch() -> None:
    async def test(engine: HeldEngine, post: Post, app: Starlette) -> list[int]:
        others = [post(red) for red in (20, 30, 40)]
        await waiting(app, 3)
        engine.go_on()
        answers = await asyncio.gather(*others)
        assert [owner(answer.json()["predictions"][0]) for answer in answers] == [20, 30, 40]
        return engine.batches

    assert held(test) == [1, 3]


def test_a_full_queue_is_refused_at_once_with_a_time_to_try_again() -> None:
    async def test(_: HeldEngine, post: Post, app: Starlette) -> httpx.Response:
        post(2)
        await waiting(app, 1)
        return await post(3)

    refused = held(test, max_batch=1, max_queue=1)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "too many pictures wait for the engine; try again in 1.0 s"


def test_nothing_is_decoded_for_a_full_queue() -> None:
    async def test(_: HeldEngine, post: Post, app: Starlette) -> tuple[str, str]:
        post(2)
        await waiting(app, 1)
        before = app.state.serving.metrics.text().decode()
        await post(3)
        return before, app.state.serving.metrics.text().decode()

    counts = [
        next(line for line in text.splitlines() if line.startswith("alexnet_decode_seconds_count"))
        for text in held(test, max_batch=1, max_queue=1)
    ]
    assert counts[0] == counts[1] == 'alexnet_decode_seconds_count{worker="1"} 2.0'


def test_more_pictures_than_may_ever_wait_are_not_told_to_try_again_while_others_wait() -> None:
    async def test(_: HeldEngine, post: Post, app: Starlette) -> httpx.Response:
        post(2)
        await waiting(app, 1)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/classify", files=images(png(3), png(4)))

    refused = held(test, max_batch=1, max_queue=1)
    assert refused.status_code == 413
    assert "retry-after" not in refused.headers
    assert "2 pictures are more than the 1 that may wait" in refused.json()["detail"]


def test_a_request_whose_deadline_passes_while_it_waits_is_refused_and_never_run() -> None:
    async def test(engine: HeldEngine, post: Post, _: Starlette) -> tuple[httpx.Response, list[int]]:
        return await post(2), engine.batches

    refused, batches = held(test, request_seconds=0.2)
    assert refused.status_code == 504
    assert "deadline" in refused.json()["detail"]
    assert batches == [1]


def test_more_requests_at_once_than_allowed_are_refused() -> None:
    async def test(_engine: HeldEngine, post: Post, _app: Starlette) -> httpx.Response:
        return await post(2)

    refused = held(test, max_requests=1)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "1 requests are here already; try again"


def test_more_requests_than_may_be_answered_at_once_are_refused_as_they_would_wait_for_these() -> None:
    async def test(_engine: HeldEngine, post: Post, _app: Starlette) -> httpx.Response:
        return await post(2)

    refused = held(test, max_answering=1)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "1 requests are being answered; try again"


def test_more_requests_of_one_client_at_once_than_allowed_are_its_own_fault() -> None:
    async def test(_engine: HeldEngine, post: Post, _app: Starlette) -> httpx.Response:
        return await post(2)

    refused = held(test, max_requests_per_client=1)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["detail"] == "1 requests of this client are being answered; try again"


def test_more_pictures_than_may_ever_wait_are_too_large() -> None:
    refused = ask(serving_app(max_queue=2), "POST", "/classify", files=images(png(1), png(2), png(3)))
    assert refused.status_code == 413
    assert "retry-after" not in refused.headers


def test_a_client_that_leaves_gives_up_its_place() -> None:
    async def test(engine: HeldEngine, _: Post, app: Starlette) -> tuple[int, list[int]]:
        left = asyncio.Event()
        messages: list[Message] = [{"type": "http.request", "body": png(2), "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/classify", "query_string": b"", "headers": []}
        leaving = asyncio.create_task(app(scope, receive, send))
        await waiting(app, 1)
        left.set()
        await leaving
        await waiting(app, 0)
        return sent[0]["status"], engine.batches

    assert held(test) == (499, [1])


def test_a_server_that_stops_refuses_what_comes_and_answers_what_waits() -> None:
    async def test(engine: HeldEngine, post: Post, app: Starlette) -> tuple[httpx.Response, httpx.Response]:
        second = post(2)
        await waiting(app, 1)
        stopping = asyncio.create_task(stop(app.state.serving))
        await asyncio.sleep(0)
        late = await post(3)
        engine.go_on()
        await stopping
        return await second, late

    second, late = held(test)
    assert owner(second.json()["predictions"][0]) == 2
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")


def test_two_engines_that_fail_are_a_refusal_that_tells_clients_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = serving_app(BrokenEngine(), fallback=BrokenEngine())
    refused = ask(app, "POST", "/classify", content=png(1))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"] == "the model could not run on these pictures; try again"
    assert "/secret/path" not in refused.text
    assert re.search(r"both engines failed on a batch: .*/secret/path", caplog.text)
