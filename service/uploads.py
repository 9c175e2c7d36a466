"""A request's body within its limits of size and time, and a client that may leave."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from service.errors import Problem


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
