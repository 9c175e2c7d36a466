"""Multipart forms: parts are what stands between their delimiters, byte by byte, and nothing is lost in silence."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header

from service.http import form
from service.http.errors import Problem
from service.http.form import Asked, parse

MOST = 4
CONTENT_TYPE = "multipart/form-data; boundary=x"
FILE = b'Content-Disposition: form-data; name="images"; filename="%s"\r\n\r\n'
TOP_K = b'Content-Disposition: form-data; name="top_k"\r\n\r\n2'


def body(*parts: bytes) -> bytes:
    """A form of these parts, each with its head, and the boundary x."""
    return b"".join(b"--x\r\n%s\r\n" % part for part in parts) + b"--x--\r\n"


def refused(content: bytes, content_type: str = CONTENT_TYPE) -> Problem:
    """What the form is refused with."""
    with pytest.raises(Problem) as refusal:
        parse(content_type, content, MOST)
    return refusal.value


def contents(asked: Asked) -> list[tuple[str | None, bytes]]:
    """The names and bytes of the pictures."""
    return [(upload.filename, upload.content) for upload in asked.uploads]


def test_pictures_come_in_their_order_with_every_byte() -> None:
    random_bytes = random.Random(5).randbytes  # noqa: S311 - pictures, not secrets
    sent = [(f"{number}.png", random_bytes(number * 999)) for number in range(MOST)]
    found = parse(CONTENT_TYPE, body(*(FILE % name.encode() + content for name, content in sent)), MOST)
    assert contents(found) == sent
    assert found.top_k is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"a\n--x\nb",
        b"a\r--x",
        b"\r\n-x",
        b"\r\n--",
        b"\r\n--y--\r\n",
        b"ends\r\n",
    ],
)
def test_what_only_looks_like_a_delimiter_belongs_to_the_picture(content: bytes) -> None:
    assert contents(parse(CONTENT_TYPE, body(FILE % b"a" + content, FILE % b"b" + content), MOST)) == [
        ("a", content),
        ("b", content),
    ]


def test_what_stands_before_and_after_the_form_is_no_part_of_it() -> None:
    around = b"preamble\r\n" + body(FILE % b"a" + b"1") + b"--x\r\n" + FILE % b"b" + b"2\r\n--x--"
    assert contents(parse(CONTENT_TYPE, around, MOST)) == [("a", b"1")]


def test_the_number_of_classes_is_a_field_beside_as_many_pictures_as_are_allowed() -> None:
    found = parse(CONTENT_TYPE, body(TOP_K, *[FILE % b"a" + b"1"] * MOST), MOST)
    assert (len(found.uploads), found.top_k) == (MOST, "2")


@pytest.mark.parametrize("more", [1, 2, 3, 100])
def test_more_pictures_than_allowed_are_refused_with_their_number(more: int) -> None:
    problem = refused(body(*[FILE % b"a" + b"1"] * (MOST + more)))
    assert (problem.reason, problem.detail) == (
        "bad_request",
        "the form has more than the 4 pictures allowed; send fewer at a time",
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'content-DISPOSITION:form-data;name=images;filename="a"\r\n\r\n', "a"),
        (b"X: y\r\nContent-Type: image/png\r\n" + FILE % b"a b.png", "a b.png"),
        (FILE % b'say \\"cheese\\".png', 'say "cheese".png'),
        (FILE % "Wäsche.png".encode(), "Wäsche.png"),
        (FILE % "Wäsche.png".encode("latin-1"), "Wäsche.png"),
        (FILE % b"", None),
        (b"Content-Disposition: form-data; name=images; filename*=UTF-8''W%C3%A4sche.png\r\n\r\n", "Wäsche.png"),
        (b'Content-Disposition: form-data; filename*="utf-8\'en\'a%20b"; name="images"\r\n\r\n', "a b"),
        (b"Content-Disposition: form-data; name=images; filename=a; filename*=UTF-8''b\r\n\r\n", "a"),
    ],
)
def test_heads_are_read_as_clients_write_them(head: bytes, name: str | None) -> None:
    assert contents(parse(CONTENT_TYPE, body(head + b"1"), MOST)) == [(name, b"1")]


def test_blanks_after_a_delimiter_are_allowed_by_the_standard() -> None:
    assert contents(parse(CONTENT_TYPE, b"--x \t\r\n" + FILE % b"a" + b"1\r\n--x-- \t", MOST)) == [("a", b"1")]


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"no head\r\n",
        b"\r\nno name",
        b"X: y\r\n\r\nno name",
        b"Content-Disposition: attachment; name=images; filename=a\r\n\r\n1",
        b"Content-Disposition: form-data; filename=a\r\n\r\n1",
        b"X: " + b"y" * 9000 + b"\r\n" + FILE % b"a",
    ],
)
def test_a_part_without_a_head_or_a_name_is_refused(part: bytes) -> None:
    assert refused(body(FILE % b"a" + b"1", part)).reason == "bad_request"


def test_a_longer_word_than_the_boundary_is_no_delimiter() -> None:
    assert refused(b"--x\r\n" + FILE % b"a" + b"1\r\n--xy\r\n--x--").reason == "bad_request"


@pytest.mark.parametrize("boundary", ["", "boundary=", "boundary=" + "x" * 300, "border=x"])
def test_a_type_without_a_usable_boundary_is_refused(boundary: str) -> None:
    assert "boundary" in refused(body(FILE % b"a"), f"multipart/form-data; {boundary}").detail


@pytest.mark.parametrize("lost", range(1, 30))
def test_a_form_that_lost_its_end_is_refused(lost: int) -> None:
    whole = body(FILE % b"a" + b"1", FILE % b"b" + b"2").rstrip()
    assert refused(whole[:-lost]).reason == "bad_request"


# What a header may be made of, and what tempts a reader of it.
WORDS = st.text(st.sampled_from("aZ09 .;=*:\\/\"'()é-_"), max_size=12)


@given(name=WORDS, filename=WORDS, between=st.sampled_from(["; ", ";", " ;  "]))
def test_a_part_s_head_means_what_a_parser_of_every_head_says(name: str, filename: str, between: str) -> None:
    value = f' form-data{between}name="{name}"{between}filename="{filename}"'.encode()
    assert form.options_of(value) == parse_options_header(value)


@given(boundary=WORDS.filter(bool), quoted=st.booleans())
def test_so_does_the_form_s_own_type(boundary: str, quoted: bool) -> None:
    content_type = (
        f'multipart/form-data; boundary="{boundary}"' if quoted else f"multipart/form-data; boundary={boundary}"
    )
    wanted = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not wanted:
        assert "boundary" in refused(b"", content_type).detail
    else:
        assert form.boundary_of(content_type) == wanted
