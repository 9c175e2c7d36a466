"""Every refusal as a problem document (RFC 9457), so that clients meet one shape of error: here is the one table."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.batching.admission import Overloaded, TooManyOfOneClient
from service.batching.waiting import Closed, DeadlineExceeded, EngineFailed, QueueFull, RequestTooLarge
from service.engines.failover import EnginesFailed

# Why a request is refused, and the status that says so. The reason is in the access log and a label of the metrics.
REASONS = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "bad_pictures": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "slow_request": HTTPStatus.REQUEST_TIMEOUT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unprocessable": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many_requests": HTTPStatus.TOO_MANY_REQUESTS,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "engines_failed": HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "queue_full": HTTPStatus.SERVICE_UNAVAILABLE,
    "stopping": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline": HTTPStatus.GATEWAY_TIMEOUT,
}
# What Starlette itself refuses.
_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}
_OF_EXCEPTION: dict[type[Exception], str] = {
    TooManyOfOneClient: "too_many_requests",
    Overloaded: "overloaded",
    QueueFull: "queue_full",
    Closed: "stopping",
    RequestTooLarge: "too_large",
    DeadlineExceeded: "deadline",
}
# In how many seconds the same may succeed, where the refusal itself does not tell.
_RETRY_SECONDS: dict[type[Exception], float] = {TooManyOfOneClient: 1.0, Overloaded: 1.0, Closed: 1.0}
# Where the reason of a refusal is left in the scope, for whoever logs and counts the request.
REASON = "alexnet.reason"

logger = logging.getLogger("alexnet")
T = TypeVar("T")


class Problem(Exception):
    """A request that cannot be answered: a reason of the table, what was wrong and what to do, and further members.

    `retry_after` is in how many seconds the same request may succeed, where it may.
    """

    def __init__(self, reason: str, detail: str, retry_after: float | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.members = members


def problem_response(request: Request, problem: Problem, headers: Any = None) -> JSONResponse:
    """The problem document. Its type is about:blank, so the title is the status's own phrase."""
    request.scope[REASON] = problem.reason
    status = REASONS[problem.reason]
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": problem.detail,
        **problem.members,
    }
    if problem.retry_after is not None:
        # Whole seconds, as HTTP has no smaller ones, and never 0: that would be at once.
        headers = {**(headers or {}), "retry-after": str(max(1, math.ceil(problem.retry_after)))}
    return JSONResponse(document, status, headers, media_type="application/problem+json")


async def on_problem(request: Request, error: Exception) -> JSONResponse:
    """Handler for Problem."""
    assert isinstance(error, Problem)
    return problem_response(request, error)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Handler for what Starlette itself refuses: unknown paths and methods, multipart it cannot read."""
    assert isinstance(error, HTTPException)
    details = {
        "not_found": f"there is nothing at {request.scope['path']}; pictures go to POST /classify",
        "method_not_allowed": f"{request.scope['path']} does not take {request.method}",
    }
    reason = _OF_STATUS.get(error.status_code, "bad_request")
    return problem_response(request, Problem(reason, details.get(reason, error.detail)), error.headers)


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """Handler for what admission and batcher refuse."""
    retry_after = getattr(error, "retry_after", _RETRY_SECONDS.get(type(error)))
    return problem_response(request, Problem(_of_kind(_OF_EXCEPTION, error), str(error), retry_after))


async def on_engine_failed(request: Request, error: Exception) -> JSONResponse:
    """Handler for EngineFailed: a refusal where a second engine was tried too, else an error that nobody foresaw."""
    if not isinstance(error.__cause__, EnginesFailed):
        raise error
    logger.error("both engines failed on a batch: %s", error.__cause__)
    detail = "the model could not run on these pictures; try again"
    return problem_response(request, Problem("engines_failed", detail, retry_after=1.0))


Handler = Callable[[Request, Exception], Awaitable[Response]]
HANDLERS: dict[type[Exception], Handler] = {
    Problem: on_problem,
    HTTPException: on_http_exception,
    EngineFailed: on_engine_failed,
    **dict.fromkeys(_OF_EXCEPTION, on_refusal),
}


async def response_of(endpoint: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """What the endpoint answers, or its refusal. Raises what has no handler."""
    try:
        return await endpoint(request)
    except tuple(HANDLERS) as error:
        response = await _of_kind(HANDLERS, error)(request, error)
        # Its frames, which may be held by itself, have the body.
        error.__traceback__ = None
        return response


def _of_kind(table: Mapping[type[Exception], T], error: Exception) -> T:
    """The entry for the error's class, or for the nearest of the classes that it is derived from."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
