"""HTTP: POST /classify and GET /model. Reads requests within their limits and hands the work to `classify`."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import CapacityLimiter, to_thread
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export.bundle import Bundle
from service.classify import Upload, classify
from service.engines import Choice
from service.errors import Problem, on_http_exception, on_problem, problem_response
from service.settings import Settings

PART = "images"
DEFAULT_TOP_K = 3
BODY_SECONDS = 20
# What `curl --data-binary` sends when nobody names a type.
CURL_DEFAULT = "application/x-www-form-urlencoded"
RAW_TYPES = frozenset({"", "application/octet-stream", CURL_DEFAULT})

CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; HTTP has none

logger = logging.getLogger("alexnet")


@dataclass(frozen=True)
class Serving:
    """What the routes answer with; put into the application's state once the engine is loaded."""

    bundle: Bundle
    choice: Choice
    settings: Settings


def build_app() -> Starlette:
    """The application; `app.state.serving` must be set before the first request."""
    app = Starlette(
        routes=[
            Route("/classify", post_classify, methods=["POST"]),
            Route("/model", get_model, methods=["GET"]),
        ],
        middleware=[Middleware(LastResort)],
        exception_handlers={Problem: on_problem, HTTPException: on_http_exception},
    )
    app.router.redirect_slashes = False
    # As many requests are decoded at once as there are cores: a large picture takes hundreds of megabytes.
    app.state.limiter = CapacityLimiter(os.cpu_count() or 1)
    return app


async def post_classify(request: Request) -> Response:
    """Classify the pictures of a multipart form, or the one picture that is the body."""
    serving: Serving = request.app.state.serving
    top_k = _top_k(request, len(serving.bundle.classes))
    limited = Request(request.scope, _limit_body(request, serving.settings.max_body_bytes))
    await _read_body(limited)
    uploads = await _uploads(limited, serving.settings.max_pictures)
    engine = serving.choice.engine
    work = partial(classify, uploads, engine, serving.bundle, top_k=top_k, max_pixels=serving.settings.max_pixels)
    predictions = await to_thread.run_sync(work, limiter=request.app.state.limiter)
    if all("error" in prediction for prediction in predictions):
        detail = predictions[0]["error"] if len(predictions) == 1 else "none of the files could be used; see errors"
        raise Problem(HTTPStatus.BAD_REQUEST, detail, errors=predictions)
    model = {"name": serving.bundle.name, "version": serving.bundle.version}
    return JSONResponse({"model": model, "engine": engine.name, "predictions": predictions})


async def get_model(request: Request) -> Response:
    """The bundle's card, and which engine serves it."""
    serving: Serving = request.app.state.serving
    choice = serving.choice
    running = choice.engine
    engine = {
        "name": running.name,
        "device": running.device,
        "variant": running.variant,
        "passed_over": dict(choice.passed_over),
    }
    return JSONResponse({**serving.bundle.document, "version": serving.bundle.version, "engine": engine})


def _top_k(request: Request, classes: int) -> int:
    text = request.query_params.get("top_k")
    if text is None:
        return min(DEFAULT_TOP_K, classes)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= classes):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"top_k must be a whole number from 1 to {classes}, not {text!r}"
        )
    return int(text)


def _limit_body(request: Request, limit: int) -> Receive:
    """A `receive` that refuses a body larger than `limit` bytes, announced or not."""
    too_large = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is larger than {limit:,} bytes; send fewer or smaller files"
    )
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return receive


async def _read_body(request: Request) -> None:
    """Wait for the whole body, but not for ever: a server that is to stop waits for its open requests."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.body()
    except TimeoutError:
        detail = f"the request did not arrive within {BODY_SECONDS} s; send it faster or in parts"
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, detail) from None


async def _uploads(request: Request, max_pictures: int) -> list[Upload]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _multipart_uploads(request, max_pictures)
    if content_type not in RAW_TYPES and not content_type.startswith("image/"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"{content_type} is not accepted; send multipart/form-data with '{PART}' parts, or one picture as the body",
        )
    return [Upload(None, await request.body())]


async def _multipart_uploads(request: Request, max_pictures: int) -> list[Upload]:
    await _refuse_cut_form(request)
    async with request.form(max_files=max_pictures, max_fields=max_pictures) as form:
        for name, part in form.multi_items():
            if name != PART:
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"unknown part {name!r}; pictures go into '{PART}'")
            if not isinstance(part, UploadFile):
                raise Problem(
                    HTTPStatus.UNPROCESSABLE_ENTITY, f"'{PART}' holds text, not a file; with curl: -F {PART}=@cat.jpg"
                )
        parts = [part for part in form.getlist(PART) if isinstance(part, UploadFile)]
        if not parts:
            raise Problem(HTTPStatus.BAD_REQUEST, f"the form has no part '{PART}'; with curl: -F {PART}=@cat.jpg")
        return [Upload(part.filename or None, await part.read()) for part in parts]


async def _refuse_cut_form(request: Request) -> None:
    """Without this a form that lost its end would lose its last picture in silence."""
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if boundary and b"--" + boundary + b"--" not in await request.body():
        raise Problem(HTTPStatus.BAD_REQUEST, "the form is cut short: its closing boundary is missing; send all of it")


class LastResort:
    """Turns an error nobody foresaw into one log entry and a problem document; a client that left is no error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            # Nobody reads it, but BentoML waits at shutdown for every request that was never answered.
            if not begun:
                await Response(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)
        except Exception:
            logger.exception("%s %s failed", scope.get("method"), scope.get("path"))
            if not begun:
                detail = "the server failed to answer; its log has the cause"
                await problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, send)


def hidden(app: ASGIApp) -> Callable[[Scope, Receive, Send], Awaitable[Any]]:
    """`app` as a plain ASGI callable, so that BentoML hands it every path that is not its own.

    BentoML asks a Starlette application for its routes first, and answers unknown paths itself, in plain text.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return call
