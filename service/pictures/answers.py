"""What is said of a picture, over HTTP and offline alike: a prediction, or what was wrong with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.bundle import Bundle, Outputs
from service.pictures.images import PictureError, decode
from training.energy import is_unknown
from training.pixels import Pixels

DEFAULT_TOP_K = 3
# Float32 carries seven digits; more would be noise in the answer.
DIGITS = 6


def default_top_k(classes: int) -> int:
    """How many of a model's classes are told where nobody says otherwise."""
    return min(DEFAULT_TOP_K, classes)


def attempt(content: bytes, bundle: Bundle, max_pixels: int) -> Pixels | PictureError:
    """The picture as the bundle's network takes it, uint8 [size, size, channels], or what is wrong with it."""
    try:
        return decode(content, size=bundle.size, channels=bundle.channels, max_pixels=max_pixels)
    except PictureError as error:
        return error


def good(decoded: Sequence[Pixels | PictureError]) -> list[Pixels]:
    """The pictures that can be classified, in their order."""
    return [picture for picture in decoded if not isinstance(picture, PictureError)]


def answers(
    names: Sequence[str | None],
    decoded: Sequence[Pixels | PictureError],
    outputs: Outputs | None,
    bundle: Bundle,
    top_k: int,
) -> list[dict[str, Any]]:
    """One entry for each name: `filename` and a prediction, or `filename` and `error`.

    `outputs` has a row for each picture of `good(decoded)`, and is None where there is none.
    """
    rows = iter(_predictions(outputs, bundle, top_k) if outputs else ())
    return [
        {"filename": name, "error": str(picture)}
        if isinstance(picture, PictureError)
        else {"filename": name, **next(rows)}
        for name, picture in zip(names, decoded, strict=True)
    ]


def _predictions(outputs: Outputs, bundle: Bundle, top_k: int) -> list[dict[str, Any]]:
    """For each row the best class, whether the picture is unknown where the bundle can tell, and the best classes.

    Equal probabilities keep the order of the classes.
    """
    classes, best = bundle.classes, np.argsort(-outputs.probabilities, axis=1, kind="stable")[:, :top_k]
    tops = [
        [{"label": classes[i], "class_id": i, "probability": round(row[i], DIGITS)} for i in places]
        for places, row in zip(best.tolist(), outputs.probabilities.tolist(), strict=True)
    ]
    threshold = bundle.energy_threshold
    if threshold is None:
        return [{**top[0], "top": top} for top in tops]
    unknown = is_unknown(outputs.logits, threshold).tolist()
    return [{**top[0], "unknown": flag, "top": top} for top, flag in zip(tops, unknown, strict=True)]
