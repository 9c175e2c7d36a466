"""No more pictures are decoded at once than the plan allows, whatever becomes of their requests."""

import asyncio
import threading
import time
from typing import Any

import pytest

from service.pictures.answers import attempt
from service.pictures.classify import TINY_BYTES, Upload, classify
from tests.unit.fakes import owner, png, serving


def test_a_request_that_was_given_up_keeps_its_place_until_its_thread_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, gate = threading.Semaphore(0), threading.Event()

    def held(*arguments: Any) -> Any:
        entered.release()
        assert gate.wait(60), "the test never let it go on"
        return attempt(*arguments)

    monkeypatch.setattr("service.pictures.classify.attempt", held)
    uploads = [Upload(None, png(7).ljust(TINY_BYTES + 1, b"\0"))]

    async def serve() -> list[Any]:
        async with serving() as started:
            deadline = time.monotonic() + 60
            first = asyncio.create_task(classify(uploads, started, top_k=3, deadline=deadline))
            await asyncio.to_thread(entered.acquire)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert started.decoders.available_tokens == 0
            gate.set()
            return (await classify(uploads, started, top_k=3, deadline=deadline))[0]

    (answered,) = asyncio.run(serve())
    assert owner(answered) == 7
