"""HTTP/1.1 as little as it takes to ask a server of this machine the same questions again and again."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    retry_after: bool  # whether the server said when to come again
    body: bytes


def parsed(received: bytes) -> Answer | None:
    """The answer that these bytes are; None while some are missing. Raises ValueError for one without its length."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    head = head.lower()
    length = LENGTH.search(head)
    if length is None:
        raise ValueError("an answer without Content-Length cannot be read")
    if len(body) < int(length[1]):
        return None
    return Answer(int(head[9:12]), b"\r\nretry-after:" in head, body)


class Connection(asyncio.Protocol):
    """A kept connection for one request at a time, opened anew where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._waiting: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be asked."""
        return self._transport is not None

    async def open(self) -> None:
        """Connect. Raises OSError."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and wait for its answer.

        Raises OSError, ValueError for what is no answer, and TimeoutError after `give_up`.
        """
        if self._transport is None:
            raise ConnectionResetError("the server closed the connection before it was asked")
        self._waiting, self._received = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return await self._waiting

    def give_up(self) -> None:
        """Wait no longer."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TimeoutError())

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the server."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand over the answer once it is whole."""
        self._received += data
        if self._waiting is None or self._waiting.done():
            return
        try:
            answer = parsed(self._received)
        except ValueError as error:
            self._waiting.set_exception(error)
            return
        if answer is not None:
            self._waiting.set_result(answer)

    def connection_lost(self, _: Exception | None) -> None:
        """Fail what waits."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection before it answered"))
