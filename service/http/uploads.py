"""A request's body within its limits of size and time, and a client that may leave."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from service.http.errors import Problem
from service.http.scope import header

# At the beginning of a request, of which most are answered by then.
UNWATCHED_SECONDS = 0.02


async def body_of(request: Request, limit: int, deadline: float) -> bytes:
    """The whole body, of up to `limit` bytes. Raises Problem, and ClientDisconnect.

    It is not waited for longer than to the `deadline`: a server that is to stop waits for its open requests.
    """
    started = time.monotonic()
    try:
        async with asyncio.timeout(deadline - started):
            return await _received(request, limit)
    except TimeoutError:
        detail = f"the request did not arrive within {deadline - started:.0f} s; send it faster or in parts"
        raise Problem("slow_request", detail) from None


@contextmanager
def while_connected(receive: Receive) -> Iterator[None]:
    """Cancel what runs inside when the client leaves, as ClientDisconnect. The body must have been read.

    What leaves in the first moments is noticed after them: a task of its own costs a small request more than it saves.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        # After the body nothing but its end can come.
        if (await receive())["type"] == "http.disconnect":
            gone = True
            task.cancel()

    watcher: asyncio.Task[None] | None = None

    def begin() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, begin)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


async def _received(request: Request, limit: int) -> bytes:
    """The body as it arrives; refused as soon as it is larger than `limit` bytes, announced or not."""
    announced = header(request.scope, b"content-length")
    if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise _too_large(limit)
    chunks, received = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        received += len(chunks[-1])
        if received > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"the request is larger than {limit:,} bytes; send fewer or smaller files")
