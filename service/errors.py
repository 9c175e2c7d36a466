"""Every refusal as a problem document (RFC 9457), so that clients meet one shape of error."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse


class Problem(Exception):
    """A request that cannot be answered: an HTTP status, what was wrong and what to do, and further members."""

    def __init__(self, status: HTTPStatus, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members


class PictureError(Exception):
    """One picture cannot be used; the others of its request are not concerned."""


def problem_response(status: int, detail: str, headers: Any = None, **members: Any) -> JSONResponse:
    """The problem document. Its type is about:blank, so the title is the status's own phrase."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        **members,
    }
    return JSONResponse(document, status, headers, media_type="application/problem+json")


async def on_problem(_: Request, error: Exception) -> JSONResponse:
    """Handler for Problem."""
    assert isinstance(error, Problem)
    return problem_response(error.status, error.detail, **error.members)


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Handler for what Starlette itself refuses: unknown paths and methods, multipart it cannot read."""
    assert isinstance(error, HTTPException)
    details = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.scope['path']}; pictures go to POST /classify",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.scope['path']} does not take {request.method}",
    }
    detail = details.get(HTTPStatus(error.status_code), error.detail)
    return problem_response(error.status_code, detail, error.headers)
