"""What the steps of one small request take, each of them alone: python -m benchmarks.request

CPU time of this process with all its threads, the least of the rounds, so that other work on the machine counts as
little as it can. The engine is a fake that takes no time, and the network is left out.
"""

import argparse
import io
import time
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import uvloop
from anyio import CapacityLimiter, to_thread
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml._internal.utils.telemetry import ParentBasedTraceIdRatio
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.http import parse_excluded_urls
from PIL import Image
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.serving import pictures
from benchmarks.serving.pictures import CONTENT_TYPE
from export.bundle import Outputs
from service.batching.batcher import Batcher, Limits
from service.engines.ran import Ran
from service.http import form
from service.http.access import Access
from service.http.layers import ApiKey, LastResort
from service.http.uploads import while_connected
from service.metrics import Metrics
from service.pictures.images import decode
from service.settings import Settings
from service.stopping import Grace
from training.pixels import Pixels

SIZE, CLASSES, MANY, LARGE = 32, 10, 32, 2000
Step = Callable[[], Awaitable[object]]


async def measure(steps: Mapping[str, Step], rounds: int, calls: int) -> dict[str, float]:
    """The least microseconds of CPU time a call of each step; the steps take turns."""
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.process_time()
            for _ in range(calls):
                await step()
            least[name] = min(least[name], 1e6 * (time.process_time() - began) / calls)
    return least


def steps(batcher: Batcher) -> dict[str, Step]:
    """Every step by name, in the order in which a request meets them."""
    small = pictures.jpegs(SIZE, 3)[:MANY]
    one, many = pictures.form(small[:1]), pictures.form(small)
    decoders = CapacityLimiter(1)
    return {
        **_layers(),
        "form of 1 picture": lambda: _read(one),
        f"form of {MANY} pictures": lambda: _read(many),
        "a thread, there and back": lambda: to_thread.run_sync(len, (), limiter=decoders),
        f"decode a JPEG of {SIZE}x{SIZE}": lambda: _decode(small[0]),
        "watch whether the client leaves": _watch,
        "batcher, 1 picture": lambda: batcher.submit(np.zeros((1, SIZE, SIZE, 3), np.uint8), time.monotonic() + 20),
        "answer of 1 picture as JSON": lambda: _answer(1),
        f"answer of {MANY} pictures as JSON": lambda: _answer(MANY),
    }


def _layers() -> dict[str, Step]:
    """BentoML's layers and ours around nothing."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.0))
    left_out = parse_excluded_urls(".*")
    metrics = Metrics("0", CollectorRegistry())
    serving = SimpleNamespace(settings=Settings(access_log=False), metrics=metrics, grace=Grace())
    state = SimpleNamespace(state=SimpleNamespace(serving=serving))
    apps: dict[str, ASGIApp] = {
        "BentoML: spans, no exporter": OpenTelemetryMiddleware(_nothing, tracer_provider=provider),
        "BentoML: spans left out": OpenTelemetryMiddleware(_nothing, excluded_urls=left_out, tracer_provider=provider),
        "BentoML: timeout": TimeoutMiddleware(_nothing, 80.0),
        "ours: access, errors, key": Access(LastResort(ApiKey(_nothing))),
    }

    def step(app: ASGIApp) -> Step:
        return lambda: app({**_scope(b""), "app": state}, _receive, _drop)

    return {name: step(app) for name, app in apps.items()}


async def _nothing(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _drop(_: Message) -> None:
    pass


def _scope(body: bytes) -> dict[str, Any]:
    headers = {b"host": b"127.0.0.1", b"content-type": CONTENT_TYPE.encode(), b"content-length": b"%d" % len(body)}
    return {
        "type": "http",
        "method": "POST",
        "path": "/classify",
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("127.0.0.1", 3000),
        "client": ("127.0.0.1", 50000),
        "headers": list(headers.items()),
    }


async def _read(body: bytes) -> object:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(_scope(body), receive)
    await request.body()
    return form.parse(CONTENT_TYPE, await request.body(), MANY)


async def _decode(content: bytes) -> Pixels:
    return decode(content, size=SIZE, channels=3, max_pixels=24_000_000)


async def _watch() -> None:
    with while_connected(_receive):
        pass


async def _answer(pictures: int) -> object:
    top = [{"label": "cat", "class_id": 3, "probability": 0.991493}] * 3
    document = {"engine": "onnx-cpu", "predictions": [{"filename": "0.jpg", **top[0], "top": top}] * pictures}
    return Response(orjson.dumps(document), media_type="application/json")


def _large() -> bytes:
    """A JPEG of LARGE x LARGE pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (LARGE // 8, LARGE // 8, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).resize((LARGE, LARGE), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
    return content.getvalue()


def _engine(images: Pixels) -> Ran:
    zeros = np.zeros((len(images), CLASSES), np.float32)
    return Ran(Outputs(zeros, zeros), ("none",))


async def _all(rounds: int, calls: int) -> dict[str, float]:
    batcher = Batcher(_engine, (SIZE, SIZE, 3), Limits(64, 1024, 0))
    large = _large()
    found = await measure(steps(batcher), rounds, calls)
    found |= await measure({f"decode a JPEG of {LARGE}x{LARGE}": lambda: _decode(large)}, rounds, 1)
    await batcher.close(1)
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of which the least counts")
    parser.add_argument("--calls", type=int, default=100, help="in each round")
    options = parser.parse_args()
    table = Table(title="One request, step by step", title_justify="left")
    table.add_column("step")
    table.add_column("microseconds", justify="right")
    for name, microseconds in uvloop.run(_all(options.rounds, options.calls)).items():
        table.add_row(name, f"{microseconds:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
