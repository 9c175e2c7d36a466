"""Answers every request with what it was told to, without a look at it: what the load generator itself can do."""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import uvloop

# Names a JSON file: from the length of a request's body to the answer.
ANSWERS_VARIABLE = "BENCHMARK_ANSWERS"


class Answerer(asyncio.Protocol):
    """One connection, whose requests come one at a time and with their head in one piece."""

    def __init__(self, answers: Mapping[int, bytes]) -> None:
        self._answers = answers
        self._length = self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the whole request is there."""
        if not self._missing:
            head, _, _ = data.partition(b"\r\n\r\n")
            self._length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            self._missing = len(head) + 4 + self._length
        self._missing -= len(data)
        if not self._missing:
            self._transport.write(self._answers[self._length])  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    told = json.loads(Path(os.environ[ANSWERS_VARIABLE]).read_text())
    # A request without a body asks whether the server is ready.
    answers = {0: _response([])} | {int(length): _response(answer) for length, answer in told.items()}
    server = await asyncio.get_running_loop().create_server(lambda: Answerer(answers), "127.0.0.1", port)
    await server.serve_forever()


def _response(answer: object) -> bytes:
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.peers.nothing")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
