"""Pixels: what becomes of a decoded picture before a network sees it."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Image as Picture

from training.pixels import Pixels, to_pixels

ORIENTATION = 0x0112
NOISE: Pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
HALF_BLACK_OVER_WHITE = 127  # 255 * (1 - 128 / 255)


def colour_of(image: Picture, channels: int = 3) -> list[int]:
    """The colour of a picture that has one only."""
    pixels = to_pixels(image, 32, channels)
    assert (pixels == pixels[0, 0]).all()
    return [int(value) for value in pixels[0, 0]]


def palette_picture() -> Picture:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


def reopened(image: Picture, **options: object) -> Picture:
    file = io.BytesIO()
    image.save(file, format="png", **options)
    return Image.open(file)


def test_a_picture_of_the_right_size_passes_byte_for_byte() -> None:
    assert np.array_equal(to_pixels(Image.fromarray(NOISE), 32, 3), NOISE)


def test_a_grey_picture_of_the_right_size_passes_byte_for_byte() -> None:
    assert np.array_equal(to_pixels(Image.fromarray(NOISE[..., 0]), 32, 1), NOISE[..., :1])


@pytest.mark.parametrize(("channels", "shape"), [(1, (24, 24, 1)), (3, (24, 24, 3))])
@pytest.mark.parametrize("size", [(24, 24), (5, 300), (1, 1), (640, 480)])
def test_any_size_becomes_the_whole_square(size: tuple[int, int], channels: int, shape: tuple[int, ...]) -> None:
    pixels = to_pixels(Image.new("RGB", size, (200, 200, 200)), 24, channels)
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8
    assert (pixels == 200).all()


def test_nothing_is_cut_away_from_a_wide_picture() -> None:
    image = Image.new("RGB", (200, 50), "black")
    image.paste("white", (0, 0, 100, 50))
    pixels = to_pixels(image, 32, 3)
    assert (pixels[:, :14] > 250).all()
    assert (pixels[:, 18:] < 5).all()


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        pytest.param(Image.new("L", (32, 32), 77), [77, 77, 77], id="grey"),
        pytest.param(Image.new("1", (32, 32), 1), [255, 255, 255], id="bilevel"),
        pytest.param(palette_picture(), [10, 20, 30], id="palette"),
        pytest.param(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), [255, 0, 0], id="CMYK"),
        pytest.param(Image.new("RGBA", (32, 32), (1, 2, 3, 255)), [1, 2, 3], id="opaque RGBA"),
    ],
)
def test_every_mode_becomes_rgb(image: Picture, colour: list[int]) -> None:
    assert colour_of(image) == colour


@pytest.mark.parametrize("mode", ["I;16", "I"])
@pytest.mark.parametrize(("value", "grey"), [(0, 0), (256, 0), (257, 1), (32_768, 127), (65_535, 255)])
def test_sixteen_bits_of_grey_are_scaled_to_eight(mode: str, value: int, grey: int) -> None:
    image = Image.fromarray(np.full((32, 32), value, dtype=np.uint16 if mode == "I;16" else np.int32))
    assert image.mode == mode
    assert colour_of(image, channels=1) == [grey]


def test_a_sixteen_bit_png_keeps_its_greys() -> None:
    ramp = np.linspace(0, 65_535, 32 * 32).astype(np.uint16).reshape(32, 32)
    pixels = to_pixels(reopened(Image.fromarray(ramp)), 32, 1)
    assert np.array_equal(pixels[..., 0], ramp // 257)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), id="RGBA"),
        pytest.param(Image.new("LA", (32, 32), (0, 0)), id="LA"),
        pytest.param(reopened(palette_picture(), transparency=1), id="palette"),
        pytest.param(reopened(palette_picture(), transparency=b"\xff\x00"), id="palette with alpha"),
        pytest.param(reopened(Image.new("RGB", (32, 32), (9, 9, 9)), transparency=(9, 9, 9)), id="RGB"),
        pytest.param(reopened(Image.new("L", (32, 32), 9), transparency=9), id="grey"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_becomes_white(image: Picture, channels: int) -> None:
    assert colour_of(image, channels) == [255] * channels


@pytest.mark.parametrize(
    "image", [Image.new("LA", (32, 32), (0, 128)), Image.new("RGBA", (32, 32), (0, 0, 0, 128))], ids=["LA", "RGBA"]
)
def test_half_transparency_is_mixed_with_white(image: Picture) -> None:
    assert colour_of(image) == [HALF_BLACK_OVER_WHITE] * 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, NOISE),
        (2, NOISE[:, ::-1]),
        (3, NOISE[::-1, ::-1]),
        (4, NOISE[::-1]),
        (5, NOISE.transpose(1, 0, 2)),
        (6, np.rot90(NOISE, -1)),
        (7, NOISE[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(NOISE)),
    ],
)
def test_the_exif_orientation_is_applied(orientation: int, upright: Pixels) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = reopened(Image.fromarray(NOISE), exif=exif)
    assert np.array_equal(to_pixels(image, 32, 3), upright)


def test_a_picture_is_turned_whose_exif_nobody_could_write_again() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    Image.fromarray(NOISE[:, :16]).save(file, "JPEG", exif=exif)
    # A width in fractions of a pixel, of the type float, in the same directory.
    width, orientation = struct.pack("<HHIf", 0x100, 11, 1, 0.5), struct.pack("<HHII", ORIENTATION, 3, 1, 6)
    directory = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + width + orientation + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(directory) + 2) + directory
    strange = file.getvalue()[:2] + segment + file.getvalue()[2:]
    upright = to_pixels(Image.open(file), 32, 3)
    assert np.array_equal(to_pixels(Image.open(io.BytesIO(strange)), 32, 3), upright)


def photograph(size: tuple[int, int], **options: object) -> Picture:
    """A JPEG of soft colours, as photographs have, that is not decoded yet."""
    file = io.BytesIO()
    Image.fromarray(NOISE).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=95, **options)
    return Image.open(file)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((1600, 800), (200, 100)),
        ((800, 1600), (100, 200)),
        ((400, 200), (200, 100)),
        ((191, 400), (191, 400)),
        ((32, 32), (32, 32)),
    ],
)
def test_a_large_jpeg_is_decoded_no_larger_than_it_must_be(size: tuple[int, int], decoded: tuple[int, int]) -> None:
    image = photograph(size)
    to_pixels(image, 32, 3)
    assert image.size == decoded


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_small_gives_the_pixels_of_one_decoded_whole(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    whole = photograph((1600, 800), exif=exif)
    whole.load()
    small = to_pixels(photograph((1600, 800), exif=exif), 32, 3)
    assert np.abs(small.astype(int) - to_pixels(whole, 32, 3)).mean() < 2


def test_the_picture_handed_in_is_left_as_it_was() -> None:
    image = Image.fromarray(NOISE)
    to_pixels(image, 8, 1)
    assert np.array_equal(np.asarray(image), NOISE)
