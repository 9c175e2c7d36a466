"""The page at /docs and the description that it reads: complete, true, and nothing loaded from elsewhere."""

import re
from typing import Any

import pytest
from starlette.routing import Route

from service.http import pages
from service.http.errors import REASONS
from service.http.layers import BENTOML_PATHS
from service.http.routes import build_app
from tests.conftest import ROOT
from tests.unit.fakes import CLASSES, ask, serving_app


def description(**settings: Any) -> dict[str, Any]:
    document: dict[str, Any] = ask(serving_app(**settings), "GET", "/docs.json").json()
    return document


def test_the_root_leads_to_the_page() -> None:
    answer = ask(serving_app(), "GET", "/")
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")


@pytest.mark.parametrize(
    ("path", "kind"), [("/docs", "text/html"), ("/docs/page.css", "text/css"), ("/docs/page.js", "text/javascript")]
)
def test_the_page_comes_from_this_server_and_may_load_from_no_other(path: str, kind: str) -> None:
    answer = ask(serving_app(), "GET", path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?:|//[a-z]+\.", answer.text)


def test_everything_that_the_page_asks_for_is_there() -> None:
    page = (pages.WEB / "index.html").read_text()
    asked = re.findall(r'(?:src|href|action)="([^"]+)"', page)
    ours = {route.path.lstrip("/") for route in build_app().routes if isinstance(route, Route)}
    assert set(asked) <= ours
    assert {"classify", "docs/page.js", "docs/page.css", "docs.json"} <= set(asked)


def test_every_file_of_the_page_is_packed() -> None:
    assert {path.name for path in pages.WEB.iterdir()} == {"index.html", "page.css", "page.js"}
    assert '"service/http/web/*"' in (ROOT / "bentofile.yaml").read_text()


def test_every_path_is_described_but_the_page_itself() -> None:
    ours = {route.path for route in build_app().routes if isinstance(route, Route)}
    page = {route.path for route in pages.ROUTES}
    assert set(description()["paths"]) == (ours - page) | {"/livez", "/readyz"}
    assert {"/livez", "/readyz"} <= BENTOML_PATHS


def test_every_refusal_of_pictures_is_described() -> None:
    responses = description()["paths"]["/classify"]["post"]["responses"]
    assert set(responses) == {"200"} | {str(int(status)) for status in REASONS.values()} - {"404", "405"}


def test_the_limits_are_those_of_the_settings_and_the_model() -> None:
    document = description(max_pictures=5, max_body_mib=3, max_megapixels=2)
    operation = document["paths"]["/classify"]["post"]
    assert "At most 5 pictures, 3 MiB, 2 megapixels each." in operation["description"]
    assert operation["parameters"][0]["schema"]["maximum"] == len(CLASSES)
    assert ", ".join(CLASSES) in document["info"]["description"]


@pytest.mark.parametrize(("key", "security"), [(None, []), ("0123456789abcdef", [{"key": []}])])
def test_a_key_is_asked_for_where_there_is_one(key: str | None, security: list[Any]) -> None:
    assert description(api_key=key)["security"] == security


def test_every_reference_leads_somewhere() -> None:
    document = description()

    def references(node: Any) -> list[str]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        own = [node["$ref"]] if isinstance(node, dict) and "$ref" in node else []
        return own + [found for child in children for found in references(child)]

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert names == set(document["components"]["schemas"])


def test_the_document_of_the_api_has_every_reason_with_its_status_and_a_way_to_meet_it() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| [45]\d\d", line)]
    shown = set(re.findall(r"^\$ .*# (\d{3})", text, re.MULTILINE))
    for reason, status in REASONS.items():
        assert [row for row in rows if f"`{reason}`" in row and str(int(status)) in row], reason
        assert str(int(status)) in shown or reason == "failed"  # which nobody can ask for
