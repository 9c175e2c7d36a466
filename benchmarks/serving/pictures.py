"""The pictures that every server gets, as forms, and what it must answer."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.serving.peers.common import Classifier
from export.parity import random_crops
from export.pictures import golden_photographs
from training.pixels import COLOUR_MODES, to_pixels

DIFFERENT = 64
BOUNDARY = "a-boundary-that-no-picture-has"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Request:
    """A form, and the probabilities [pictures, classes] that its pictures have."""

    body: bytes
    expected: list[list[float]]


def jpegs(size: int, channels: int) -> list[bytes]:
    """Crops of the golden photographs as JPEG files, the same ones every time."""
    photographs = []
    for path in golden_photographs():
        with Image.open(path) as image:
            photographs.append(to_pixels(image, 3 * size, channels))
    return [_jpeg(crop, channels) for crop in random_crops(photographs, DIFFERENT, size)]


def requests(files: Sequence[bytes], pictures: int, classifier: Classifier) -> list[Request]:
    """The files in forms of so many `pictures` each, every file in as many of them as every other."""
    pixels = np.stack([classifier.decode(io.BytesIO(file)) for file in files])
    expected = [[float(share) for share in row] for row in classifier.probabilities(pixels)]
    starts = range(0, len(files), pictures)
    return [Request(form(files[start:][:pictures]), expected[start:][:pictures]) for start in starts]


def form(files: Sequence[bytes]) -> bytes:
    """The files as a multipart form, as browsers and curl send them."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + file
        + b"\r\n"
        for number, file in enumerate(files)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _jpeg(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], channels: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.squeeze(), COLOUR_MODES[channels]).save(content, "JPEG", quality=90)
    return content.getvalue()
