"""Every request has an id and gives one line of JSON; with an API key, only who has it comes in."""

import json
import logging
import re
from typing import Any

import pytest

from tests.unit.fakes import ask, images, png, serving_app

KEY = "0123456789abcdef"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The lines of the access log so far, parsed."""
    caplog.set_level(logging.INFO, "alexnet.access")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "alexnet.access"]


def test_a_request_gives_one_line(lines: Any) -> None:
    ask(serving_app(), "POST", "/classify?top_k=1", content=png(1), headers={"x-request-id": "a-1"})
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("milliseconds") >= 0
    assert line == {
        "request_id": "a-1",
        "worker": "1",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "reason": None,
    }


def test_a_refusal_is_logged_with_its_reason(lines: Any) -> None:
    ask(serving_app(), "POST", "/classify", files=images(b"text"))
    ask(serving_app(), "GET", "/nothing%0Anew")
    assert [(line["status"], line["reason"]) for line in lines()] == [(400, "bad_pictures"), (404, "not_found")]


def test_the_log_can_be_switched_off(lines: Any) -> None:
    ask(serving_app(access_log=False), "GET", "/model")
    assert lines() == []


@pytest.mark.parametrize("identity", ["a", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233:abc/+_.-"])
def test_the_id_of_a_request_is_given_back(identity: str) -> None:
    answer = ask(serving_app(), "GET", "/nothing", headers={"x-request-id": identity})
    assert answer.headers["x-request-id"] == identity


@pytest.mark.parametrize("identity", [None, "", "a b", "é".encode(), '"}', "x" * 129, "a\tb"])
def test_a_request_without_a_plain_id_gets_a_new_one(identity: Any) -> None:
    headers = {} if identity is None else {"x-request-id": identity}
    app = serving_app()
    found = {ask(app, "GET", "/model", headers=headers).headers["x-request-id"] for _ in range(3)}
    assert len(found) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in found)


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_the_key_lets_in(value: str) -> None:
    answer = ask(serving_app(api_key=KEY), "POST", "/classify", content=png(1), headers={"authorization": value})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "value", [None, "", KEY, f"Basic {KEY}", "Bearer", f"Bearer {KEY[:-1]}", f"Bearer {KEY}0", "Bearer é".encode()]
)
@pytest.mark.parametrize("path", ["/classify", "/model", "/metrics", "/nothing"])
def test_without_the_key_nothing_is_told(path: str, value: Any) -> None:
    headers = {} if value is None else {"authorization": value}
    answer = ask(serving_app(api_key=KEY), "GET", path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the API key is missing or wrong; send it as: Authorization: Bearer KEY"


@pytest.mark.parametrize("path", ["/", "/docs", "/docs.json", "/docs/page.js"])
def test_the_page_needs_no_key(path: str) -> None:
    assert ask(serving_app(api_key=KEY), "GET", path).status_code in (200, 307)


def test_without_a_key_in_the_settings_everybody_comes_in() -> None:
    assert ask(serving_app(), "GET", "/model").status_code == 200
