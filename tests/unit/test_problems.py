"""Every refusal over HTTP is a problem document (RFC 9457) that says what was wrong, and nothing of the machine."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.types import Message

from tests.unit.fakes import NOWHERE, BrokenEngine, ask, call, encoded, images, owner, png, serving_app

MEBIBYTE = 1 << 20


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The document of a refusal, once its form is what every refusal must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert {key: document[key] for key in ("type", "title", "status")} == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
    }
    assert document["detail"]
    for secret in ("Traceback", str(NOWHERE), "/secret", "site-packages", ".py", "0x"):
        assert secret not in answer.text
    return document


def refused(status: int, **options: Any) -> dict[str, Any]:
    """The problem document that POST /classify answers with."""
    return problem(ask(serving_app(max_body_mib=1, max_pictures=4), "POST", "/classify", **options), status)


@pytest.mark.parametrize("top_k", ["0", "4", "-1", "1.0", "three", "", "²", "٣", "1" * 5000, " 1", "+1"])
def test_a_wrong_top_k_is_unprocessable(top_k: str) -> None:
    detail = refused(422, content=png(1), params={"top_k": top_k})["detail"]
    assert detail == f"top_k must be a whole number from 1 to 3, not {repr(top_k)[:100]}"


def test_an_unknown_part_is_unprocessable() -> None:
    detail = refused(422, files=[*images(png(1)), ("pictures", ("a.png", png(2)))])["detail"]
    assert detail == "unknown part 'pictures'; pictures go into 'images'"


def test_an_unknown_field_is_unprocessable() -> None:
    assert "unknown part 'top-k'" in refused(422, files=images(png(1)), data={"top-k": "1"})["detail"]


def test_a_file_where_a_number_belongs_is_unprocessable() -> None:
    parts = [*images(png(1)), ("top_k", ("a.txt", b"1"))]
    assert refused(422, files=parts)["detail"] == "'top_k' holds a file, not a number"


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"PK\x03\x04", b"<svg/>"])
def test_documents_archives_and_drawings_alone_are_not_supported(content: bytes) -> None:
    assert refused(415, files=images(content))["errors"][0]["filename"] == "0.png"
    assert "not a picture" in refused(415, content=content)["detail"]


def test_a_document_beside_a_damaged_picture_is_a_bad_request() -> None:
    refused(400, files=images(b"%PDF-1.7", png(1)[:45]))


def test_text_where_a_file_belongs_is_unprocessable() -> None:
    detail = refused(422, files=[("images", (None, "cat.jpg"))])["detail"]
    assert detail == "'images' holds text, not a file, and a URL is not fetched; with curl: -F images=@cat.jpg"


def test_a_form_that_lost_its_end_is_refused_rather_than_losing_its_last_picture() -> None:
    request = httpx.Request("POST", "http://test", files=images(png(1), png(2)))
    headers = {"content-type": request.headers["content-type"]}
    detail = refused(400, content=request.read()[:-20], headers=headers)["detail"]
    assert detail.startswith("the form is cut short")


def test_a_path_with_a_slash_too_many_is_not_redirected() -> None:
    assert "/classify/" in problem(ask(serving_app(), "POST", "/classify/", content=png(1)), 404)["detail"]


def test_a_form_without_parts_is_a_bad_request() -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert "no part 'images'" in refused(400, content=b"--x--\r\n", headers=headers)["detail"]


def test_a_form_without_a_boundary_is_a_bad_request() -> None:
    headers = {"content-type": "multipart/form-data"}
    assert "boundary" in refused(400, content=b"--x--\r\n", headers=headers)["detail"]


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", ""])
def test_an_empty_body_is_a_bad_request(content_type: str) -> None:
    assert refused(400, content=b"", headers={"content-type": content_type})["detail"] == "the file is empty"


def test_one_bad_picture_alone_is_a_bad_request_that_says_why() -> None:
    document = refused(400, files=images(b"text"))
    assert document["detail"] == "this is not a picture; send one of: JPEG, PNG, WEBP, GIF, BMP, TIFF"
    assert document["errors"] == [{"filename": "0.png", "error": document["detail"]}]


def test_bad_pictures_alone_are_a_bad_request_with_an_error_for_each() -> None:
    errors = refused(400, files=images(b"text", b"", png(1)[:45]))["errors"]
    assert [error["filename"] for error in errors] == ["0.png", "1.png", "2.png"]
    reasons = ("not a picture", "empty", "damaged")
    assert all(reason in error["error"] for reason, error in zip(reasons, errors, strict=True))


@pytest.mark.parametrize("content_type", ["application/pdf", "text/plain", "video/mp4", "multipart/mixed; boundary=x"])
def test_a_type_that_holds_no_picture_is_not_supported(content_type: str) -> None:
    detail = refused(415, content=b"{}", headers={"content-type": content_type})["detail"]
    assert detail.startswith(f"{content_type.partition(';')[0]} is not accepted; send multipart/form-data")


def test_a_body_announced_too_large_is_refused_unread() -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    detail = refused(413, content=body(), headers={"content-length": str(MEBIBYTE + 1)})["detail"]
    assert detail == "the request is larger than 1,048,576 bytes; send fewer or smaller files"


@pytest.mark.parametrize("content_type", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_of_unknown_length_is_read_up_to_the_limit_alone(content_type: str) -> None:
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        for number in range(64):
            sent.append(number)
            yield b"\0" * (MEBIBYTE // 4)

    assert "1,048,576 bytes" in refused(413, content=body(), headers={"content-type": content_type})["detail"]
    assert len(sent) == 4


def test_a_body_of_just_the_limit_is_read() -> None:
    content = png(5).ljust(MEBIBYTE, b"\0")
    answer = ask(serving_app(max_body_mib=1), "POST", "/classify", content=content)
    assert owner(answer.json()["predictions"][0]) == 5


def test_too_many_pictures_are_refused_with_the_limit() -> None:
    assert "4" in refused(400, files=images(*map(png, range(5))))["detail"]


def test_an_unknown_path_is_not_found() -> None:
    detail = problem(ask(serving_app(), "GET", "/nothing"), 404)["detail"]
    assert detail == "there is nothing at /nothing; pictures go to POST /classify"


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/classify", {"POST"}), ("POST", "/model", {"GET", "HEAD"})]
)
def test_a_wrong_method_is_refused_with_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    answer = ask(serving_app(), method, path)
    assert problem(answer, 405)["detail"] == f"{path} does not take {method}"
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_an_error_nobody_foresaw_is_a_problem_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(serving_app(BrokenEngine()), "POST", "/classify", content=png(1))
    assert problem(answer, 500)["detail"] == "the server failed to answer; its log has the cause"
    (entry,) = [record for record in caplog.records if record.name == "alexnet"]
    assert entry.getMessage() == "POST /classify failed"
    assert entry.exc_info is not None
    assert entry.exc_info[1] is not None
    assert "/secret/path" in str(entry.exc_info[1].__cause__)


def test_the_application_answers_after_an_error_nobody_foresaw() -> None:
    app = serving_app(BrokenEngine())
    problem(ask(app, "POST", "/classify", content=png(1)), 500)
    assert ask(app, "GET", "/model").status_code == 200


def test_a_client_that_leaves_ends_its_request_without_a_log_entry(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent = call(serving_app(), receive)
    # Nobody reads it, but BentoML counts the request as running until then, and waits for it when it stops.
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert 400 <= sent[0]["status"] < 500
    assert caplog.records == []


def test_a_picture_with_too_many_pixels_is_a_bad_request() -> None:
    content = encoded(Image.new("L", (1001, 1000)), "PNG")
    answer = ask(serving_app(max_megapixels=1), "POST", "/classify", content=content)
    assert "1001x1000" in problem(answer, 400)["detail"]


def test_a_body_that_never_ends_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever comes")

    sent = call(serving_app(request_seconds=0.05), receive)
    assert sent[0]["status"] == 408
    assert b"did not arrive within" in sent[1]["body"]
