"""POST /classify has a way of its own past Starlette's routes: it must answer as they would, and keep nothing."""

import gc
import tracemalloc
from typing import Any

import pytest
from starlette.routing import Route

from service.http import routes
from tests.unit.fakes import BrokenEngine, ChannelEngine, ask, images, png, serving_app

JSON = {"content-type": "application/json"}
REQUESTS: dict[str, dict[str, Any]] = {
    "a form": {"files": images(png(1), png(2))},
    "a form with a bad picture": {"files": images(png(1), b"text")},
    "bad pictures alone": {"files": images(b"text")},
    "a document": {"files": images(b"%PDF-1.7")},
    "an empty form": {"content": b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    "raw bytes": {"content": png(3)},
    "nothing": {"content": b""},
    "JSON": {"content": b"[", "headers": JSON},
    "another type": {"content": b"?", "headers": {"content-type": "text/csv"}},
    "a number in the query": {"content": png(3), "params": {"top_k": "1"}},
    "too large a number": {"content": png(3), "params": {"top_k": "9"}},
    "too large a body": {"content": png(3), "headers": {"content-length": "99999999999"}},
}


def answers(app: Any, monkeypatch: pytest.MonkeyPatch, request: dict[str, Any]) -> list[tuple[int, bytes, Any]]:
    """What the fast way gives, and what Starlette's gives."""
    found = []
    for path in (routes.CLASSIFY.path, "/nowhere"):
        # The application has its routes already: from here on only the fast way is elsewhere.
        monkeypatch.setattr(routes, "CLASSIFY", Route(path, routes.post_classify))
        response = ask(app, "POST", "/classify", **request)
        headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
        found.append((response.status_code, response.content, headers))
    return found


@pytest.mark.parametrize("engine", [ChannelEngine, BrokenEngine])
@pytest.mark.parametrize("name", REQUESTS)
def test_it_answers_as_the_table_of_routes_would(engine: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = answers(serving_app(engine()), monkeypatch, REQUESTS[name])
    assert fast == slow


def test_a_refused_body_is_let_go_of_without_the_garbage_collector() -> None:
    app, body = serving_app(), b"[" + b" " * (1 << 20)
    ask(app, "POST", "/classify", content=body, headers=JSON)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(5):
            assert ask(app, "POST", "/classify", content=body, headers=JSON).status_code == 400
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < 2 * len(body)
