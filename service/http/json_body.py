"""Pictures in a JSON body: {"images": [{"filename": "cat.jpg", "data": BASE64}], "top_k": 3}."""

import binascii
import json
import re
from typing import Any

from service.http.errors import Problem
from service.http.form import Asked
from service.pictures.classify import Upload

EXAMPLE = '{"images": [{"filename": "cat.jpg", "data": "BASE64"}]}'
# JSON can write half of a character beyond U+FFFF, which no answer in UTF-8 could hold.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(body: bytes, max_pictures: int) -> Asked:
    """The pictures in the body, in their order. Raises Problem."""
    document = _loaded(body)
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise Problem("unprocessable", f"the body must be an object with a list of images: {EXAMPLE}")
    _refuse_unknown(document, {"images", "top_k"}, "the body")
    images = document["images"]
    if not images:
        raise Problem("bad_request", f"there is no image in the list: {EXAMPLE}")
    if len(images) > max_pictures:
        raise Problem("bad_request", f"there are {len(images)} images; a request may have {max_pictures}")
    return Asked([_upload(image, f"images[{place}]") for place, image in enumerate(images)], document.get("top_k"))


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # ValueError of JSON, of UTF-8 and of numbers too long to read
        raise Problem("bad_request", f"the body is not JSON ({str(error)[:100]})") from None


def _upload(image: Any, where: str) -> Upload:
    if not isinstance(image, dict) or not isinstance(image.get("data"), str):
        raise Problem("unprocessable", f"{where} must be an object with the file as base64 text: {EXAMPLE}")
    _refuse_unknown(image, {"filename", "data"}, where)
    filename = image.get("filename")
    if not (filename is None or _is_text(filename)):
        raise Problem("unprocessable", f"{where}.filename must be text")
    try:
        return Upload(filename, binascii.a2b_base64(image["data"], strict_mode=True))
    except ValueError:
        raise Problem("unprocessable", f"{where}.data is not base64; a URL is not fetched") from None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not LONE_SURROGATE.search(value)


def _refuse_unknown(found: dict[str, Any], known: set[str], where: str) -> None:
    """What is misspelt would otherwise be left out in silence."""
    for name in found.keys() - known:
        told = f"unknown member {name[:100]!r}; known: {', '.join(sorted(known))}"
        raise Problem("unprocessable", f"{where} has an {told}")
