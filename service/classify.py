"""The use case: pictures in, predictions out. Knows nothing of HTTP; a bad picture concerns no other."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anyio import to_thread

from service.answers import answers, attempt, good
from service.errors import PictureError
from service.serving import Serving
from service.waiting import DeadlineExceeded
from training.pixels import Pixels


@dataclass(frozen=True)
class Upload:
    """What a client sent: bytes, and a name where there is one."""

    filename: str | None
    content: bytes


async def classify(uploads: Sequence[Upload], serving: Serving, *, top_k: int, deadline: float) -> list[Any]:
    """One entry for every upload, in their order: a prediction, or `filename` and `error`.

    `deadline` is a time of the monotonic clock, after which nothing of it is begun. Raises DeadlineExceeded and what
    `Batcher.submit` raises.
    """
    decoded = await _decoded(uploads, serving, deadline)
    pictures = good(decoded)
    outputs = await serving.batcher.submit(np.stack(pictures), deadline) if pictures else None
    return answers([upload.filename for upload in uploads], decoded, outputs, serving.bundle, top_k)


async def _decoded(uploads: Sequence[Upload], serving: Serving, deadline: float) -> list[Pixels | PictureError]:
    """Every picture or what is wrong with it, decoded in one of a few threads."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(max(deadline - started, 0)):
            decoded = await to_thread.run_sync(_decode_all, uploads, serving, limiter=serving.decoders)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the pictures were decoded") from None
    bad = len(decoded) - len(good(decoded))
    serving.metrics.decoded(len(decoded) - bad, bad, time.monotonic() - started)
    return decoded


def _decode_all(uploads: Sequence[Upload], serving: Serving) -> list[Pixels | PictureError]:
    return [attempt(upload.content, serving.bundle, serving.settings.max_pixels) for upload in uploads]
