"""The use case: pictures in, predictions out. Knows nothing of HTTP; a bad picture concerns no other."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anyio import to_thread

from export.bundle import Bundle, Outputs
from service.errors import PictureError
from service.images import decode
from service.serving import Serving
from service.waiting import DeadlineExceeded
from training.energy import is_unknown
from training.pixels import Pixels

# Float32 carries seven digits; more would be noise in the answer.
DIGITS = 6


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
    pictures = [picture for picture in decoded if not isinstance(picture, PictureError)]
    rows = iter(_rows(await serving.batcher.submit(np.stack(pictures), deadline)) if pictures else ())
    return [
        {"filename": upload.filename, "error": str(picture)}
        if isinstance(picture, PictureError)
        else {"filename": upload.filename, **_prediction(next(rows), serving.bundle, top_k)}
        for upload, picture in zip(uploads, decoded, strict=True)
    ]


async def _decoded(uploads: Sequence[Upload], serving: Serving, deadline: float) -> list[Pixels | PictureError]:
    """Every picture or what is wrong with it, decoded in one of a few threads."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(max(deadline - started, 0)):
            decoded = await to_thread.run_sync(_decode_all, uploads, serving, limiter=serving.decoders)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the pictures were decoded") from None
    bad = sum(isinstance(picture, PictureError) for picture in decoded)
    serving.metrics.decoded(len(decoded) - bad, bad, time.monotonic() - started)
    return decoded


def _decode_all(uploads: Sequence[Upload], serving: Serving) -> list[Pixels | PictureError]:
    bundle, max_pixels = serving.bundle, serving.settings.max_pixels
    decoded: list[Pixels | PictureError] = []
    for upload in uploads:
        try:
            decoded.append(decode(upload.content, size=bundle.size, channels=bundle.channels, max_pixels=max_pixels))
        except PictureError as error:
            decoded.append(error)
    return decoded


def _rows(outputs: Outputs) -> list[Outputs]:
    """What the engine gave for each picture, as a batch of one."""
    return [
        Outputs(outputs.logits[row : row + 1], outputs.probabilities[row : row + 1])
        for row in range(len(outputs.logits))
    ]


def _prediction(outputs: Outputs, bundle: Bundle, top_k: int) -> dict[str, Any]:
    """The best class, whether the picture is unknown where the bundle can tell, and the `top_k` best classes.

    Equal probabilities keep the order of the classes.
    """
    probabilities, classes = outputs.probabilities[0], bundle.classes
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    top = [
        {"label": classes[i], "class_id": int(i), "probability": round(float(probabilities[i]), DIGITS)} for i in best
    ]
    threshold = bundle.energy_threshold
    unknown = {} if threshold is None else {"unknown": bool(is_unknown(outputs.logits, threshold)[0])}
    return {**top[0], **unknown, "top": top}
