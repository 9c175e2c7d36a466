"""The use case: pictures in, predictions out. Knows nothing of HTTP; a bad picture concerns no other."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anyio import to_thread

from service.batching.waiting import DeadlineExceeded
from service.pictures.answers import answers, attempt, good
from service.pictures.images import PictureError, TooManyPixelsError
from service.serving import Serving
from training.pixels import Pixels

# Of all pictures of a request, and of each: decoding them takes about as long as the way to a thread and back.
TINY_BYTES, TINY_PIXELS = 8192, 128 * 128


@dataclass(frozen=True)
class Upload:
    """What a client sent: bytes, and a name where there is one."""

    filename: str | None
    content: bytes


async def classify(
    uploads: Sequence[Upload], serving: Serving, *, top_k: int, deadline: float
) -> tuple[list[Any], tuple[str, ...]]:
    """One entry for every upload, in their order: a prediction, or `filename` and `error`. And which engines ran them.

    These are as in `Ran`, and none where no picture is good. `deadline` is a time of the monotonic clock, after which
    nothing of it is begun. Raises DeadlineExceeded and what `Batcher.submit` raises.
    """
    serving.batcher.require_room(len(uploads))  # else they would be decoded for nothing
    decoded = await _decoded(uploads, serving, deadline)
    pictures = good(decoded)
    outputs, engines = await serving.batcher.submit(_together(pictures), deadline) if pictures else (None, ())
    return answers([upload.filename for upload in uploads], decoded, outputs, serving.bundle, top_k), engines


def _together(pictures: Sequence[Pixels]) -> Pixels:
    # Stacking a single picture would copy it.
    return pictures[0][np.newaxis] if len(pictures) == 1 else np.stack(pictures)


async def _decoded(uploads: Sequence[Upload], serving: Serving, deadline: float) -> list[Pixels | PictureError]:
    """Every picture or what is wrong with it, decoded in one of a few threads if not here."""
    started = time.monotonic()
    decoded = _decoded_here(uploads, serving)
    if decoded is None:
        decoded = await _decoded_in_thread(uploads, serving, deadline - started)
    bad = len(decoded) - len(good(decoded))
    serving.metrics.decoded(len(decoded) - bad, bad, time.monotonic() - started)
    return decoded


def _decoded_here(uploads: Sequence[Upload], serving: Serving) -> list[Pixels | PictureError] | None:
    """The same without a thread where nobody else would notice; None where they might."""
    if sum(len(upload.content) for upload in uploads) > TINY_BYTES:
        return None
    decoded = _decode_all(uploads, serving, min(TINY_PIXELS, serving.settings.max_pixels))
    # A few bytes may announce millions of pixels.
    return None if any(isinstance(picture, TooManyPixelsError) for picture in decoded) else decoded


async def _decoded_in_thread(
    uploads: Sequence[Upload], serving: Serving, seconds: float
) -> list[Pixels | PictureError]:
    """In one of a few threads, each of which decodes what one request brings."""
    decoders, place = serving.decoders, object()
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await decoders.acquire_on_behalf_of(place)
            work = asyncio.ensure_future(to_thread.run_sync(_decode_all, uploads, serving, serving.settings.max_pixels))
            # Where the request ends first, the thread goes on and takes its memory until it is done.
            work.add_done_callback(lambda _: decoders.release_on_behalf_of(place))
            return await asyncio.shield(work)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the pictures were decoded") from None


def _decode_all(uploads: Sequence[Upload], serving: Serving, max_pixels: int) -> list[Pixels | PictureError]:
    return [attempt(upload.content, serving.bundle, max_pixels) for upload in uploads]
