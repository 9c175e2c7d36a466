"""Who answers which path: ours before BentoML's layers, BentoML its own probes, and those layers what they are for."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.layers import in_front


class Counting:
    """A layer of BentoML's, around ours."""

    def __init__(self, app: ASGIApp, passed: list[str]) -> None:
        self._app, self._passed = app, passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the path."""
        if scope["type"] == "http":
            self._passed.append(scope["path"])
        await self._app(scope, receive, send)


def bentos(passed: list[str], bypass: bool) -> Starlette:
    """An application as BentoML makes it: its layers, then what the service added, then its routes."""
    added = Middleware(in_front, ours=PlainTextResponse("ours"), bypass=bypass)
    routes = [Route(path, lambda _: PlainTextResponse("bentos")) for path in ("/readyz", "/classify")]
    return Starlette(routes=routes, middleware=[Middleware(Counting, passed=passed), added])


def serve(app: ASGIApp, *paths: str) -> list[str]:
    """Start the application and ask for the paths; returns the bodies."""
    bodies: list[str] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"} if not started.is_set() else {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        started.set()
        if "body" in message:
            bodies.append(message["body"].decode())

    async def all_of_it() -> None:
        await app({"type": "lifespan", "state": {}}, receive, send)
        for path in paths:
            scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
            await app(scope, receive, send)

    started = asyncio.Event()
    asyncio.run(all_of_it())
    return bodies


@pytest.mark.parametrize("bypass", [False, True])
def test_ours_answers_all_but_bentomls_probes(bypass: bool) -> None:
    assert serve(bentos([], bypass), "/classify", "/readyz", "/nothing") == ["ours", "bentos", "ours"]


def test_a_request_of_ours_passes_none_of_bentomls_layers() -> None:
    passed: list[str] = []
    serve(bentos(passed, bypass=True), "/classify", "/readyz", "/nothing")
    assert passed == ["/readyz"]


def test_every_request_passes_them_where_they_were_asked_for() -> None:
    passed: list[str] = []
    serve(bentos(passed, bypass=False), "/classify", "/readyz", "/nothing")
    assert passed == ["/classify", "/readyz", "/nothing"]
