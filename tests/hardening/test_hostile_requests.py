"""Whatever bytes arrive, the answer is JSON: a prediction or a refusal, never a failure of the server."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.types import Message

from tests.unit.fakes import ask, call, encoded, png, serving_app

MUTATIONS = 100
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
JSON = {200: "application/json", 400: "application/problem+json"}


@pytest.fixture
def app() -> Starlette:
    """The application with a fake engine and a limit of one megapixel."""
    return serving_app(max_body_mib=1, max_megapixels=1, max_pictures=8)


def send(app: Starlette, body: bytes, content_type: str = "application/octet-stream") -> httpx.Response:
    return ask(app, "POST", "/classify", content=body, headers={"content-type": content_type})


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    """A multipart body with the boundary `x`."""
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


def part(disposition: bytes, content: bytes = b"") -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n\r\n" + (content or png(1))


def small_picture(format_: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), format_)


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """Seeded damage: bytes replaced, a piece cut out, repeated or moved, or the end lost."""
    generator = np.random.default_rng(len(content))
    for number in range(count):
        start, end = sorted(generator.integers(0, len(content), 2).tolist())
        if number % 5 == 0:
            yield content[:start] + content[end:]
        elif number % 5 == 1:
            yield content[:end] + content[start:]
        elif number % 5 == 2:
            yield content[:end]
        else:
            damaged = np.frombuffer(content, np.uint8).copy()
            # Headers are where parsers go wrong, so half of the damage is there.
            reach = 64 if number % 5 == 3 else len(content)
            places = generator.integers(0, min(reach, len(content)), 4)
            damaged[places] = generator.integers(0, 256, 4)
            yield damaged.tobytes()


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it repairs
@pytest.mark.parametrize("format_", FORMATS)
def test_damaged_pictures_are_answered_or_refused(app: Starlette, format_: str) -> None:
    for content in mutations(small_picture(format_), MUTATIONS):
        answer = send(app, content)
        assert answer.status_code in JSON, answer.text
        assert answer.headers["content-type"] == JSON[answer.status_code]


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_photograph_is_answered_or_refused(app: Starlette, cat: bytes) -> None:
    statuses = {send(app, content, "image/jpeg").status_code for content in mutations(cat, MUTATIONS)}
    assert statuses == {200, 400}


@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_do_not_disturb_a_good_one_between_them(app: Starlette) -> None:
    good = png(42)
    expected = ask(app, "POST", "/classify", files=[("images", ("good", good))]).json()["predictions"][0]
    for content in mutations(small_picture("JPEG"), MUTATIONS // 4):
        files = [("images", (name, body)) for name, body in (("a", content), ("good", good), ("b", content))]
        assert ask(app, "POST", "/classify", files=files).json()["predictions"][1] == expected


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # Starlette, of a part without an end
def test_damaged_forms_are_answered_or_refused(app: Starlette) -> None:
    whole = form(part(b'form-data; name="images"; filename="a"'), part(b'form-data; name="images"; filename="b"'))
    for content in mutations(whole, MUTATIONS):
        answer = send(app, content, "multipart/form-data; boundary=x")
        assert answer.status_code in {200, 400, 422}
        assert "predictions" in answer.json() or answer.json()["detail"]


def test_damaged_json_is_answered_or_refused(app: Starlette) -> None:
    image = {"filename": "a.png", "data": base64.b64encode(png(1)).decode()}
    whole = json.dumps({"images": [image, image], "top_k": 2}).encode()
    assert send(app, whole, "application/json").status_code == 200
    for content in mutations(whole, MUTATIONS):
        answer = send(app, content, "application/json")
        assert answer.status_code in {200, 400, 415, 422}
        assert "predictions" in answer.json() or answer.json()["detail"]


@pytest.mark.parametrize("depth", [100, 5_000, 200_000])
def test_json_that_is_nested_deep_is_refused(app: Starlette, depth: int) -> None:
    for body in (b"[" * depth, b'{"images":' * depth, b'{"images": [], "top_k": ' + b"[" * depth + b"]" * depth + b"}"):
        assert send(app, body, "application/json").status_code in {400, 413, 422}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"--x",
        b"--x\r\n",
        b"--y--\r\n",
        b"\r\n" * 1000,
        form(),
        form(end=b""),
        form(part(b"form-data")),
        form(part(b"attachment")),
        form(part(b"form-data; name=")),
        form(part(b'form-data; filename="a"')),
        form(b"\r\n" + png(1)),
        form(b"X: " + b"y" * 20_000 + b"\r\n\r\n"),
        form(b"\0\r\n\r\n"),
        form(*[b"X: y\r\n\r\n"] * 20),
        form(part(b'form-data; name="images"')),
        form(part(b'form-data; name="images"', b"z" * (1 << 19))),
        form(part(b'form-data; name="\xff\xfe"; filename="a"')),
        form(part(b'form-data; name="images"; filename="a"'), part(b'form-data; name="__proto__"')),
    ],
    ids=range(20),
)
def test_odd_forms_are_refused(app: Starlette, body: bytes) -> None:
    answer = send(app, body, "multipart/form-data; boundary=x")
    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary=x; charset=nonsense",
        "multipart/form-data; boundary=x; charset=utf-16",
        "MULTIPART/FORM-DATA; BOUNDARY=x",
        "multipart/form-data ; boundary=x",
        "image/",
        "image",
        "/",
        ";",
        "\t",
        "image/svg+xml",
        "x" * 5000,
    ],
)
def test_odd_content_types_are_answered_or_refused(app: Starlette, content_type: str) -> None:
    answer = send(app, form(part(b'form-data; name="images"; filename="a"')), content_type)
    assert answer.status_code in {200, 400, 415, 422}
    assert "predictions" in answer.json() or answer.json()["detail"]


@pytest.mark.parametrize(
    "filename",
    [
        "/etc/passwd",
        "..\\..\\boot.ini",
        "C:\\a.png",
        'quote".png',
        "new\nline",
        "nul\0",
        "猫.png",
        "‮gnp.exe",
        "a" * 4096,
    ],
)
def test_file_names_are_text_and_are_never_opened(
    app: Starlette, monkeypatch: pytest.MonkeyPatch, filename: str
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("io.open", opened)
    answer = ask(app, "POST", "/classify", files=[("images", (filename, png(7)))])
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    assert prediction["probability"] == 7 / 256 or prediction["probability"] == round(7 / 256, 6)
    assert isinstance(prediction["filename"], str)


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 9), (9, 0), (1 << 31, 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_png_with_an_impossible_size_is_refused(app: Starlette, width: int, height: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    assert send(app, b"\x89PNG\r\n\x1a\n" + chunk).status_code == 400


def test_a_small_file_of_many_pixels_is_refused(app: Starlette) -> None:
    bomb = encoded(Image.new("1", (6000, 6000)), "PNG")
    assert len(bomb) < 10_000
    assert "6000x6000" in send(app, bomb).json()["detail"]


@pytest.mark.parametrize("host", ["", "[", "]", "a:b:c", "evil.example/..", "\x7f"])
@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("//other.example/", 404), ("/model", 200)])
def test_an_odd_host_changes_no_answer(app: Starlette, host: str, path: str, status: int) -> None:
    assert ask(app, "GET", f"http://test{path}", headers={"host": host}).status_code == status


@pytest.mark.parametrize("length", ["-1", "1e9", "\xb2", "9" * 5000, "0x10", ""])
def test_an_odd_content_length_is_no_failure_of_the_server(app: Starlette, length: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": png(1), "more_body": False}

    sent = call(app, receive, headers=[(b"content-length", length.encode("latin-1"))])
    assert sent[0]["status"] in {200, 400, 413}
