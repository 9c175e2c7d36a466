"""The outermost layer: an id for every request, one line of JSON about it, and its place in the metrics."""

import json
import logging
import random
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.errors import REASON
from service.http.scope import header
from service.serving import Serving

HEADER = b"x-request-id"
# What other software takes for an id; anything else could be there to confuse who reads the log.
PLAIN_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

logger = logging.getLogger("alexnet.access")


def log_to_stdout() -> None:
    """Let every line of the access log be JSON and nothing else, whatever BentoML does with other logs."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class Access:
    """Counts, times and logs every request, and gives its id back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.monotonic()
        identity = _identity(scope)
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            _tell(scope, identity, status, time.monotonic() - started)


def _identity(scope: Scope) -> str:
    given = header(scope, HEADER)
    return given if PLAIN_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _tell(scope: Scope, identity: str, status: int, seconds: float) -> None:
    serving: Serving = scope["app"].state.serving
    route = getattr(scope.get("route"), "path", None)
    serving.metrics.request(route, scope["method"], status, seconds)
    if REASON in scope:
        serving.metrics.refused(scope[REASON])
    if serving.settings.access_log:
        logger.info(json.dumps(_line(scope, identity, status, seconds, serving.metrics.worker)))


def _line(scope: Scope, identity: str, status: int, seconds: float, worker: str) -> Mapping[str, Any]:
    client = scope.get("client")
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": identity,
        "worker": worker,
        "client": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "reason": scope.get(REASON),
        "milliseconds": round(seconds * 1000, 1),
    }
