"""The layers around the routes: what is BentoML's, who may come in, and what answers an error nobody foresaw."""

import hmac
import logging

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.batching.waiting import Closed
from service.http.errors import Problem, on_refusal, problem_response
from service.http.scope import header
from service.serving import Serving

# What BentoML answers itself: probes, and what its clients ask for.
BENTOML_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/schema.json"})
CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; HTTP has none

logger = logging.getLogger("alexnet")


def in_front(app: ASGIApp, ours: ASGIApp, bypass: bool) -> ASGIApp:
    """BentoML's application behind `ours`: it has routes for our paths too, and answers unknown ones in plain text.

    To be added to a BentoML service, and so within BentoML's own layers. With `bypass` requests that are ours do not
    pass them: when the application starts, its stack of layers is put behind `ours` as well.
    """
    inside = _either(app, ours)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if bypass and scope["type"] == "lifespan":
            bentos = scope["app"]
            bentos.middleware_stack = _either(bentos.middleware_stack, ours)
        await inside(scope, receive, send)

    return call


def _either(bentos: ASGIApp, ours: ASGIApp) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        is_bentos = scope["type"] != "http" or scope["path"] in BENTOML_PATHS
        await (bentos if is_bentos else ours)(scope, receive, send)

    return call


class ApiKey:
    """Lets nobody in without the key, where the settings have one, but to the page that says how to send it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        serving: Serving = scope["app"].state.serving
        key, path = serving.settings.api_key, scope["path"]
        if key is None or path == "/" or path.startswith("/docs") or _has_key(scope, key):
            await self._app(scope, receive, send)
            return
        problem = Problem("unauthorized", "the API key is missing or wrong; send it as: Authorization: Bearer KEY")
        await problem_response(Request(scope), problem, {"www-authenticate": "Bearer"})(scope, receive, send)


def _has_key(scope: Scope, key: str) -> bool:
    scheme, _, given = header(scope, b"authorization").partition(" ")
    # The time that a comparison takes must not tell how much of a guess is right.
    return hmac.compare_digest(given.strip().encode(), key.encode()) and scheme.lower() == "bearer"


class LastResort:
    """Turns an error nobody foresaw into one log entry and a problem document, and so a request without more time.

    A client that left is no error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        serving: Serving = scope["app"].state.serving
        try:
            with serving.grace.request():
                await self._app(scope, receive, watch)
        except Closed as error:
            if not begun:
                await (await on_refusal(Request(scope), error))(scope, receive, send)
        except ClientDisconnect:
            # Nobody reads it, but BentoML waits at shutdown for every request that was never answered.
            if not begun:
                await Response(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)
        except Exception:
            logger.exception("%s %s failed", scope.get("method"), scope.get("path"))
            if not begun:
                problem = Problem("failed", "the server failed to answer; its log has the cause")
                await problem_response(Request(scope), problem)(scope, receive, send)
