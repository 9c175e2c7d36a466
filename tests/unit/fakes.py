"""Stand-ins for serving: a bundle without files, an engine of exact arithmetic, and a client without a network."""

import asyncio
import io
import math
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import Message, Receive

from export.bundle import Bundle, Outputs
from service.cores import Plan
from service.engines.engine import Engine, EngineError
from service.engines.failover import Failover, Policy
from service.http.routes import build_app
from service.metrics import Metrics
from service.pictures.classify import Upload, classify
from service.serving import Engines, Serving, start, stop
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


class HeldEngine(ChannelEngine):
    """Holds every batch until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self._entered, self._gate = threading.Semaphore(0), threading.Event()

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, 3], later."""
        self._entered.release()
        assert self._gate.wait(60), "the test never let it go on"
        return super().run(images)

    async def entered(self) -> None:
        """Wait until there is a batch in it."""
        await asyncio.to_thread(self._entered.acquire)

    def go_on(self) -> None:
        """Hold nothing any more."""
        self._gate.set()


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


def _never() -> Engine:
    raise EngineError("an engine that was let go stays away")


@asynccontextmanager
async def serving(
    engine: Engine | None = None, bundle: Bundle = BUNDLE, fallback: Engine | None = None, **settings: Any
) -> AsyncIterator[Serving]:
    """What stands behind the routes, with a bundle without files, in the running loop."""
    chosen, metrics = Settings(**settings), Metrics("1", CollectorRegistry())
    load_fallback = None if fallback is None else lambda: fallback
    failover = Failover(engine or ChannelEngine(), load_fallback, _never, Policy(), observer=metrics)
    reasons = {"onnx-cuda": "there is no NVIDIA driver here"}
    planned = Plan(workers=1, threads=1, decoders=1)
    started = start(Engines(failover, reasons, (), "PyTorch is not installed"), planned, bundle, chosen, metrics)
    try:
        yield started
    finally:
        await stop(started)


def classified(
    uploads: Sequence[Upload], engine: Engine | None = None, bundle: Bundle = BUNDLE, top_k: int = 3, **settings: Any
) -> list[Any]:
    """What the service would answer for the uploads, however many they are."""

    async def serve() -> list[Any]:
        async with serving(engine, bundle, max_queue=max(len(uploads), 1), **settings) as started:
            predictions, _ = await classify(uploads, started, top_k=top_k, deadline=math.inf)
            return predictions

    return asyncio.run(serve())


def serving_app(engine: Engine | None = None, bundle: Bundle = BUNDLE, **options: Any) -> Starlette:
    """The application, so that no model is needed; `ask` and `call` let it serve, with the options of `serving`."""
    app = build_app()
    app.state.make_serving = partial(serving, engine, bundle, **options)
    return app


@asynccontextmanager
async def client_of(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client, while the application serves; an exception that leaves the application is raised in it."""
    transport = httpx.ASGITransport(app)
    async with (
        app.state.make_serving() as app.state.serving,
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


def ask(app: Starlette, method: str, path: str, **options: Any) -> httpx.Response:
    """One request."""

    async def send() -> httpx.Response:
        async with client_of(app) as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def call(app: Starlette, receive: Receive, **scope: Any) -> list[Message]:
    """POST /classify without a client: what the application sends where it is given the messages of `receive`."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def serve() -> None:
        async with app.state.make_serving() as app.state.serving:
            whole = {"type": "http", "method": "POST", "path": "/classify", "query_string": b"", "headers": [], **scope}
            await app(whole, receive, send)

    asyncio.run(serve())
    return sent


def images(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """`contents` as the parts of a multipart form, named 0.png, 1.png and so on."""
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]
