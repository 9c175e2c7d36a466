"""JPEGs of the network's size, which another decoder than Pillow's takes: nobody can tell by the pixels."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.pictures.images import FORMATS
from tests.unit.fakes import encoded
from tests.unit.test_images import SIZE, decoded, quarters, refusal
from training.pixels import to_pixels

KINDS = st.sampled_from(
    [("RGB", {"subsampling": 0}), ("RGB", {"subsampling": 2}), ("RGB", {"keep_rgb": True}), ("L", {}), ("CMYK", {})]
)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=KINDS,
    quality=st.sampled_from([5, 60, 95]),
    progressive=st.booleans(),
    side=st.sampled_from([SIZE, SIZE + 1]),
    channels=st.sampled_from([1, 3]),
)
def test_a_jpeg_of_any_kind_has_the_pixels_that_training_would_see(
    seed: int, kind: tuple[str, dict[str, Any]], quality: int, progressive: bool, side: int, channels: int
) -> None:
    mode, options = kind
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, len(mode)), dtype=np.uint8).squeeze()
    content = encoded(
        Image.frombytes(mode, (side, side), noise.tobytes()),
        "JPEG",
        quality=quality,
        progressive=progressive,
        **options,
    )
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(decoded(content, channels=channels), to_pixels(image, SIZE, channels))


@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_a_damaged_jpeg_is_borne_or_refused_as_pillow_does(seed: int, data: st.DataObject) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    content = bytearray(encoded(Image.fromarray(noise), "JPEG", quality=50))
    for place in data.draw(st.lists(st.integers(3, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(4, len(content)))])
    try:
        with Image.open(io.BytesIO(damaged), formats=FORMATS) as image:
            expected = to_pixels(image, SIZE, 3) if image.width * image.height <= 1_000_000 else None
    except Exception:
        expected = None
    if expected is None:
        refusal(damaged)
    else:
        np.testing.assert_array_equal(decoded(damaged), expected)


@pytest.mark.parametrize("side", [SIZE, 3 * SIZE])
def test_colours_at_a_quarter_of_the_height_are_decoded_as_training_would(side: int) -> None:
    content = bytearray(encoded(quarters().resize((side, side)), "JPEG", subsampling=0))
    first_sampling = content.index(b"\xff\xc0") + 11
    # The whole picture of 4:4:4 then is too much of 4:4:1, which Pillow bears.
    content[first_sampling] = 0x14
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(decoded(bytes(content)), to_pixels(image, SIZE, 3))


@pytest.mark.parametrize(
    "cut_short",
    [
        b"\xff\xe0\x00\x07JFIF\x00",
        b"\xff\xe2\x00\x0eICC_PROFILE\x00",
        b"\xff\xed\x00\x16Photoshop 3.0\x008BIM\x03\xed",
        b"\xff\xee\x00\x07Adobe",
        b"\xff\x01",
    ],
)
def test_what_pillow_cannot_read_of_a_header_is_refused_whatever_the_size(cut_short: bytes) -> None:
    for side in (SIZE, SIZE + 1):
        whole = encoded(quarters().resize((side, side)), "JPEG")
        assert refusal(whole[:2] + cut_short + whole[2:]).startswith("this is not a picture")


def test_a_jpeg_of_the_right_size_is_turned_as_its_exif_says() -> None:
    turned = quarters().getexif()
    turned[0x0112] = 3
    upright, turned_over = (
        decoded(encoded(quarters(), "JPEG", quality=100, subsampling=0, **options))
        for options in ({}, {"exif": turned})
    )
    assert np.abs(np.rot90(upright, 2).astype(int) - turned_over.astype(int)).max() < 16


def test_a_jpeg_of_the_right_size_may_be_too_large_too() -> None:
    assert "more than the 255 allowed" in refusal(encoded(quarters(), "JPEG"), max_pixels=255)
