"""A request's body within its limits of size and time, the files in a form, and a client that may leave."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from service.classify import Upload
from service.errors import Problem

PART = "images"
FIELD = "top_k"


@dataclass(frozen=True)
class Asked:
    """What a body asks for; `top_k` as it came, None where it did not."""

    uploads: list[Upload]
    top_k: Any = None


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters; empty where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def whole(request: Request, limit: int, deadline: float) -> Request:
    """The request with its body read, of up to `limit` bytes. Raises Problem, and ClientDisconnect."""
    limited = Request(request.scope, _limit_body(request, limit))
    await _read_body(limited, deadline)
    return limited


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel what runs inside when the client leaves, as ClientDisconnect. The body must have been read."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        # After the body nothing but its end can come.
        if (await receive())["type"] == "http.disconnect":
            gone = True
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        watcher.cancel()


def _limit_body(request: Request, limit: int) -> Receive:
    """A `receive` that refuses a body larger than `limit` bytes, announced or not."""
    too_large = Problem("too_large", f"the request is larger than {limit:,} bytes; send fewer or smaller files")
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


async def _read_body(request: Request, deadline: float) -> None:
    """Wait for the whole body, but not for ever: a server that is to stop waits for its open requests."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(deadline - started):
            await request.body()
    except TimeoutError:
        detail = f"the request did not arrive within {deadline - started:.0f} s; send it faster or in parts"
        raise Problem("slow_request", detail) from None


async def from_form(request: Request, max_pictures: int) -> Asked:
    """The files of a multipart form, in their order. Raises Problem."""
    await _refuse_cut_form(request)
    async with request.form(max_files=max_pictures, max_fields=max_pictures) as form:
        for name, part in form.multi_items():
            if name not in (PART, FIELD):
                raise Problem("unprocessable", f"unknown part {name!r}; pictures go into '{PART}'")
            if name == PART and not isinstance(part, UploadFile):
                detail = f"'{PART}' holds text, not a file, and a URL is not fetched; with curl: -F {PART}=@cat.jpg"
                raise Problem("unprocessable", detail)
            if name == FIELD and not isinstance(part, str):
                raise Problem("unprocessable", f"'{FIELD}' holds a file, not a number")
        parts = [part for part in form.getlist(PART) if isinstance(part, UploadFile)]
        if not parts:
            raise Problem("bad_request", f"the form has no part '{PART}'; with curl: -F {PART}=@cat.jpg")
        return Asked([Upload(part.filename or None, await part.read()) for part in parts], form.get(FIELD))


async def _refuse_cut_form(request: Request) -> None:
    """Without this a form that lost its end would lose its last picture in silence."""
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if boundary and b"--" + boundary + b"--" not in await request.body():
        raise Problem("bad_request", "the form is cut short: its closing boundary is missing; send all of it")
