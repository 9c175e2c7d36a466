"""Starlette and ONNX Runtime with nothing between them, under uvicorn: decodes and runs where the request is read.

No thread and no batch: for pictures of this size both cost more than they give.
"""

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from benchmarks.serving.peers.common import Classifier

classifier = Classifier()


async def classify(request: Request) -> JSONResponse:
    """Classify the pictures of a form."""
    async with request.form() as form:
        images = np.stack(
            [classifier.decode(part.file) for part in form.getlist("images") if not isinstance(part, str)]
        )
    return JSONResponse({"predictions": classifier.predictions(classifier.probabilities(images))})


async def ready(_: Request) -> PlainTextResponse:
    """The process serves."""
    return PlainTextResponse("ready")


app = Starlette(routes=[Route("/classify", classify, methods=["POST"]), Route("/readyz", ready)])
