"""The page at /docs: what the API takes, with a form to try it. It loads nothing from anywhere else."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from service.http.openapi import described
from service.serving import Serving

WEB = Path(__file__).parent / "web"
HEADERS = {
    # The page may load what lies beside it, ask this server, and show pictures that the visitor chose; nothing more.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


async def get_root(_: Request) -> Response:
    """To the page."""
    return RedirectResponse("docs")


async def get_page(_: Request) -> Response:
    """The page itself."""
    return FileResponse(WEB / "index.html", headers=HEADERS)


async def get_style(_: Request) -> Response:
    """The page's style."""
    return FileResponse(WEB / "page.css", headers=HEADERS)


async def get_script(_: Request) -> Response:
    """The page's script."""
    return FileResponse(WEB / "page.js", headers=HEADERS, media_type="text/javascript")


async def get_description(request: Request) -> Response:
    """The API as an OpenAPI document."""
    serving: Serving = request.app.state.serving
    return JSONResponse(described(serving.bundle, serving.settings))


ROUTES = [
    Route("/", get_root, methods=["GET"]),
    Route("/docs", get_page, methods=["GET"]),
    Route("/docs/page.css", get_style, methods=["GET"]),
    Route("/docs/page.js", get_script, methods=["GET"]),
    Route("/docs.json", get_description, methods=["GET"]),
]
