"""Pictures in a JSON body: the same answers as in a form, and refusals that say where the body is wrong."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.unit.fakes import ask, owner, png, serving_app


def classify(document: Any, **options: Any) -> httpx.Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {"content-type": "application/json"}
    return ask(serving_app(max_pictures=4), "POST", "/classify", content=body, headers=headers, **options)


def image(content: bytes, **members: Any) -> dict[str, Any]:
    return {"data": base64.b64encode(content).decode(), **members}


def test_pictures_are_answered_in_their_order_under_their_names() -> None:
    document = {"images": [image(png(7), filename="a.png"), image(b"text", filename=None), image(png(9))]}
    answer = classify(document)
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert (owner(first), first["filename"]) == (7, "a.png")
    assert second.keys() == {"filename", "error"}
    assert (owner(third), third["filename"]) == (9, None)


def test_the_number_of_classes_may_be_in_the_body_and_the_query_comes_first() -> None:
    document = {"images": [image(png(1))], "top_k": 2}
    for params, expected in (({}, 2), ({"top_k": 1}, 1)):
        (prediction,) = classify(document, params=params).json()["predictions"]
        assert len(prediction["top"]) == expected


@pytest.mark.parametrize(
    ("top_k", "shown"),
    [(0, "0"), (4, "4"), (-1, "-1"), (1.0, "1.0"), (True, "true"), ([1], "a list"), ({}, "an object"), ("x", "'x'")],
)
def test_a_wrong_number_of_classes_is_unprocessable(top_k: Any, shown: str) -> None:
    answer = classify({"images": [image(png(1))], "top_k": top_k})
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"top_k must be a whole number from 1 to 3, not {shown}"


@pytest.mark.parametrize("depth", range(900, 1000, 9))
def test_no_depth_of_a_wrong_number_of_classes_is_a_fault_of_the_server(depth: int) -> None:
    body = b'{"images": [{"data": ""}], "top_k": ' + b"[" * depth + b"]" * depth + b"}"
    assert classify(body).status_code in (400, 422)


def test_what_is_refused_is_shown_in_part_where_it_is_long() -> None:
    for members in ({"top_k": "9" * 1000}, {"x" * 1000: 1}):
        answer = classify({"images": [image(png(1))], **members})
        assert answer.status_code == 422
        assert len(answer.json()["detail"]) < 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"images": ' + b"9" * 10_000 + b"}"], ids=range(5)
)
def test_what_is_no_json_is_a_bad_request(body: bytes) -> None:
    answer = classify(body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body is not JSON (")


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ([], "the body must be an object with a list of images"),
        ({}, "the body must be an object with a list of images"),
        ({"images": {}}, "the body must be an object with a list of images"),
        ({"images": ["a"]}, "images[0] must be an object with the file as base64 text"),
        ({"images": [{"filename": "a"}]}, "images[0] must be an object with the file as base64 text"),
        ({"images": [{"data": "", "name": "a"}]}, "images[0] has an unknown member 'name'; known: data, filename"),
        ({"images": [{"data": "", "filename": 1}]}, "images[0].filename must be text"),
        ({"images": [{"data": "", "filename": "a\ud83d.png"}]}, "images[0].filename must be text"),
        ({"images": [], "topk": 1}, "the body has an unknown member 'topk'; known: images, top_k"),
        ({"images": [{"data": "*"}]}, "images[0].data is not base64; a URL is not fetched"),
        ({"images": [{"data": "http://127.0.0.1/a.png"}]}, "images[0].data is not base64; a URL is not fetched"),
    ],
)
def test_another_shape_is_unprocessable_and_the_refusal_says_where(document: Any, detail: str) -> None:
    answer = classify(document)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)


def test_no_picture_and_too_many_are_bad_requests() -> None:
    for images, reason in (([], "there is no image"), ([image(png(1))] * 5, "there are 5 images")):
        answer = classify({"images": images})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(reason)
