"""HTTP: POST /classify, GET /model and GET /metrics."""

import json
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import onnxruntime
import orjson
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http import form, json_body, pages
from service.http.access import Access
from service.http.errors import HANDLERS, Problem, response_of
from service.http.form import PART, Asked
from service.http.layers import ApiKey, LastResort
from service.http.scope import header, media_type
from service.http.uploads import body_of, while_connected
from service.pictures.answers import default_top_k
from service.pictures.classify import Upload, classify
from service.pictures.images import foreign_format
from service.serving import Serving

LIBRARIES = ("bentoml", "numpy", "pillow")
# What `curl --data-binary` sends when nobody names a type.
CURL_DEFAULT = "application/x-www-form-urlencoded"
RAW_TYPES = frozenset({"", "application/octet-stream", CURL_DEFAULT})
# Such values may be too deep to be written out.
NESTED: dict[Any, str] = {list: "a list", dict: "an object"}


def build_app() -> Starlette:
    """The application; `app.state.serving` must be set before the first request, in the loop that serves it."""
    app = Starlette(
        routes=[
            CLASSIFY,
            Route("/model", get_model, methods=["GET"]),
            Route("/metrics", get_metrics, methods=["GET"]),
            *pages.ROUTES,
        ],
        middleware=[Middleware(layer) for layer in (Access, LastResort, ApiKey, FastPath)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    return app


class FastPath:
    """Calls `post_classify` itself, and leaves all other requests to Starlette's layers and table of routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] != CLASSIFY.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = CLASSIFY
        request = Request(scope, receive)
        await (await response_of(post_classify, request))(scope, receive, send)


async def post_classify(request: Request) -> Response:
    """Classify the pictures of a multipart form or a JSON body, or the one picture that is the body."""
    serving: Serving = request.app.state.serving
    with serving.admission.admit(request.client and request.client.host):
        deadline = time.monotonic() + serving.settings.request_seconds
        body = await body_of(request, serving.settings.max_body_bytes, deadline)
        with serving.admission.answering():
            asked = await _asked(request, body, serving.settings.max_pictures)
            wanted = request.query_params.get("top_k", asked.top_k) if request.scope["query_string"] else asked.top_k
            top_k = _top_k(wanted, len(serving.bundle.classes))
            with while_connected(request.receive):
                document = await answer(asked.uploads, serving, top_k, deadline)
        return Response(orjson.dumps(document), media_type="application/json")


CLASSIFY = Route("/classify", post_classify, methods=["POST"])


async def _asked(request: Request, body: bytes, max_pictures: int) -> Asked:
    kind = media_type(request.scope)
    if kind == "multipart/form-data":
        return form.parse(header(request.scope, b"content-type"), body, max_pictures)
    if kind == "application/json":
        # In a thread, as megabytes of base64 would hold up everybody else's requests.
        return await to_thread.run_sync(json_body.parse, body, max_pictures)
    if kind not in RAW_TYPES and not kind.startswith("image/"):
        accepted = f"send multipart/form-data with '{PART}' parts, application/json, or one picture as the body"
        raise Problem("unsupported", f"{kind} is not accepted; {accepted}")
    return Asked([Upload(None, body)])


async def answer(uploads: Sequence[Upload], serving: Serving, top_k: int, deadline: float) -> dict[str, Any]:
    """The document for a request. Raises Problem where no picture of it can be used, and what `classify` raises."""
    predictions, engines = await classify(uploads, serving, top_k=top_k, deadline=deadline)
    if all("error" in prediction for prediction in predictions):
        detail = predictions[0]["error"] if len(predictions) == 1 else "none of the files could be used; see errors"
        foreign = all(foreign_format(upload.content) for upload in uploads)
        raise Problem("unsupported" if foreign else "bad_pictures", detail, errors=predictions)
    model = {"name": serving.bundle.name, "version": serving.bundle.version}
    return {"model": model, "engine": ", ".join(engines), "predictions": predictions}


async def get_model(request: Request) -> Response:
    """The bundle's card, which engine serves it, and the worker that answers."""
    serving: Serving = request.app.state.serving
    engines, failover = serving.engines, serving.engines.failover
    engine = {
        "name": failover.name,
        "device": failover.device,
        "variant": failover.variant,
        "passed_over": dict(engines.passed_over),
        "degraded": failover.degraded,
        "failures": dict(failover.failures),
        "last_failure": failover.last_reason,
        "fallbacks": list(engines.fallbacks),
        "no_fallback": engines.no_fallback,
    }
    worker = {
        "worker": serving.metrics.worker,
        "pid": os.getpid(),
        "since": serving.since,
        "max_batch": serving.settings.max_batch,
        "max_queue": serving.settings.max_queue,
        # ONNX Runtime's distribution has another name where it is built for GPUs.
        "versions": {name: version(name) for name in LIBRARIES} | {"onnxruntime": onnxruntime.__version__},
    }
    document = {**serving.bundle.document, "version": serving.bundle.version}
    return JSONResponse({**document, "engine": engine, "serving": worker})


async def get_metrics(request: Request) -> Response:
    """Counters and histograms for Prometheus, of all workers."""
    serving: Serving = request.app.state.serving
    return Response(serving.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _top_k(given: Any, classes: int) -> int:
    """How many classes to tell, from a query, a form or JSON. Raises Problem."""
    if given is None:
        return default_top_k(classes)
    text = str(given) if type(given) is int else given
    if not (
        isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= classes
    ):
        shown = NESTED.get(type(given)) or (repr(given) if isinstance(given, str | float) else json.dumps(given))[:100]
        raise Problem("unprocessable", f"top_k must be a whole number from 1 to {classes}, not {shown}")
    return int(text)
