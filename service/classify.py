"""The use case: pictures in, predictions out. Knows nothing of HTTP; a bad picture concerns no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.bundle import Bundle, Outputs
from service.engines import Engine
from service.errors import PictureError
from service.images import decode
from training.energy import is_unknown
from training.pixels import Pixels

# Large enough to use a device well, small enough that the activations of a CPU batch stay below 100 MB.
MAX_BATCH = 64
# Float32 carries seven digits; more would be noise in the answer.
DIGITS = 6


@dataclass(frozen=True)
class Upload:
    """What a client sent: bytes, and a name where there is one."""

    filename: str | None
    content: bytes


def classify(uploads: Sequence[Upload], engine: Engine, bundle: Bundle, *, top_k: int, max_pixels: int) -> list[Any]:
    """One entry for every upload, in their order: a prediction, or `filename` and `error`."""
    decoded: list[Pixels | PictureError] = []
    for upload in uploads:
        try:
            decoded.append(decode(upload.content, size=bundle.size, channels=bundle.channels, max_pixels=max_pixels))
        except PictureError as error:
            decoded.append(error)
    pictures = [picture for picture in decoded if not isinstance(picture, PictureError)]
    rows = _outputs(pictures, engine)
    return [
        {"filename": upload.filename, "error": str(picture)}
        if isinstance(picture, PictureError)
        else {"filename": upload.filename, **_prediction(next(rows), bundle, top_k)}
        for upload, picture in zip(uploads, decoded, strict=True)
    ]


def _outputs(pictures: Sequence[Pixels], engine: Engine) -> Iterator[Outputs]:
    """What the engine gives for each picture, as a batch of one."""
    for start in range(0, len(pictures), MAX_BATCH):
        found = engine.run(np.stack(pictures[start : start + MAX_BATCH]))
        for row in range(len(found.logits)):
            yield Outputs(found.logits[row : row + 1], found.probabilities[row : row + 1])


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
