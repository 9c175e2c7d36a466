"""Stand-ins for serving: a bundle without files, an engine of exact arithmetic, and a client without a network."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.types import ASGIApp

from export.bundle import Bundle, Outputs
from service.engines import Choice, Engine
from service.routes import Serving, build_app
from service.settings import Settings
from training.pixels import Pixels

CLASSES = ("red", "green", "blue")
SIZE = 4
# Nothing is at this place: whoever serves this bundle reads no file.
NOWHERE = Path("/nowhere/bundle")
BUNDLE = Bundle(
    NOWHERE,
    "0123456789abcdef" * 4,
    {
        "name": "alexnet-fake",
        "classes": list(CLASSES),
        "input": {"size": SIZE, "channels": 3},
        "accuracy": {},
        "files": {"weights.safetensors": {}},
    },
)
# Tells the unknown, as the energy of ChannelEngine's logits for a picture of red alone is exactly -red from 40 on.
TELLING = replace(BUNDLE, document={**BUNDLE.document, "energy_threshold": -100.0})


class ChannelEngine:
    """The probability of a class is the mean of one colour channel over 256, which is exact in float32."""

    name = "channel-fake"
    device = "fake"
    variant = "fp32"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, 3]."""
        self.batches.append(len(images))
        means = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        return Outputs(means, means / np.float32(256))


class BrokenEngine(ChannelEngine):
    """Fails in a way that nobody foresaw, with a message that should not leave the machine."""

    def run(self, images: Pixels) -> Outputs:
        """Raise."""
        raise RuntimeError(f"no memory for {len(images)} pictures at /secret/path")


def png(red: int, green: int = 0, blue: int = 0) -> bytes:
    """A picture of one colour; with ChannelEngine, `owner` reads `red` back from its prediction."""
    return encoded(Image.new("RGB", (SIZE, SIZE), (red, green, blue)), "PNG")


def owner(prediction: dict[str, Any]) -> int:
    """The amount of red in the picture that a prediction of ChannelEngine belongs to."""
    probabilities: dict[str, float] = {entry["label"]: entry["probability"] for entry in prediction["top"]}
    return round(probabilities["red"] * 256)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The bytes of `image` as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def serving_app(engine: Engine | None = None, bundle: Bundle = BUNDLE, **settings: Any) -> Starlette:
    """The application with a fake bundle, so that no model is needed."""
    app = build_app()
    choice = Choice(engine or ChannelEngine(), {"onnx-cuda": "there is no NVIDIA driver here"})
    app.state.serving = Serving(bundle, choice, Settings(**settings))
    return app


def ask(app: ASGIApp, method: str, path: str, **options: Any) -> httpx.Response:
    """One request; an exception that leaves the application is raised here."""

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def images(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """`contents` as the parts of a multipart form, named 0.png, 1.png and so on."""
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]
