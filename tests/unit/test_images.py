"""Bytes to pixels: what is decoded, what is refused, and what the refusal says."""

import io
import struct
import tarfile
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.pictures.images import FORMATS, PictureError, decode, foreign_format
from tests.unit.fakes import encoded
from training.pixels import Pixels

SIZE = 16
LOSSLESS = ("PNG", "WEBP", "GIF", "BMP", "TIFF")


def decoded(content: bytes, *, max_pixels: int = 1_000_000, channels: int = 3) -> Pixels:
    return decode(content, size=SIZE, channels=channels, max_pixels=max_pixels)


def refusal(content: bytes, **options: Any) -> str:
    with pytest.raises(PictureError) as refused:
        decoded(content, **options)
    return str(refused.value)


def quarters() -> Image.Image:
    """Four colours, so that no turn or flip of the picture looks the same."""
    picture = Image.new("RGB", (SIZE, SIZE), "red")
    picture.paste("lime", (8, 0, 16, 8))
    picture.paste("blue", (0, 8, 8, 16))
    return picture


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that announces its size and holds no pixel at all."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("format_", LOSSLESS)
def test_every_lossless_format_is_decoded_exactly(format_: str) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    np.testing.assert_array_equal(decoded(encoded(quarters(), format_, **options)), np.asarray(quarters()))


def test_jpeg_is_decoded_closely() -> None:
    content = encoded(quarters(), "JPEG", quality=95, subsampling=0)
    assert np.abs(decoded(content).astype(int) - np.asarray(quarters()).astype(int)).max() < 16


def test_these_are_all_the_formats() -> None:
    assert set(FORMATS) == {"JPEG", *LOSSLESS}


def test_a_photograph_becomes_the_size_of_the_network(cat: bytes) -> None:
    pixels = decoded(cat, max_pixels=24_000_000)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.dtype(np.uint8)
    assert pixels.std() > 10


def test_a_grey_network_gets_one_channel() -> None:
    assert decoded(encoded(quarters(), "PNG"), channels=1).shape == (SIZE, SIZE, 1)


def test_an_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content)) as animation:
        assert getattr(animation, "n_frames", 1) == 3
    np.testing.assert_array_equal(decoded(content), np.asarray(frames[0]))


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"") == "the file is empty"


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"\0" * 64,
        b"<html><body>svg</body></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
        b"GIF89a",
    ],
    ids=["text", "zeros", "html", "postscript", "gif-magic"],
)
def test_what_is_no_picture_is_refused_with_the_formats_that_are(content: bytes) -> None:
    assert refusal(content) == "this is not a picture; send one of: JPEG, PNG, WEBP, GIF, BMP, TIFF"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'


def archive(kind: str) -> bytes:
    """An archive with one file in it."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr("cat.txt", b"cat")
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind.removeprefix('tar')}") as tar:  # type: ignore[call-overload]
            tar.addfile(tarfile.TarInfo("cat.txt"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SVG, "an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n' + SVG, "an SVG drawing"),
        (SVG.decode().encode("utf-16"), "an SVG drawing"),
        (b"<!-- " + b"drawn " * 500 + b"-->" + SVG, "an SVG drawing"),
        (b"\r\n%PDF-1.4\n1 0 obj\n", "a PDF document"),
        (b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF", "a PDF document"),
        (archive("zip"), "a ZIP archive"),
        (archive("tar"), "a tar archive"),
        (archive("targz"), "a gzip archive"),
        (archive("tarbz2"), "a bzip2 archive"),
        (archive("tarxz"), "an xz archive"),
    ],
    ids=[
        "svg",
        "svg-in-xml",
        "svg-utf-16",
        "svg-after-much",
        "pdf-after-a-line",
        "pdf",
        "zip",
        "tar",
        "gzip",
        "bzip2",
        "xz",
    ],
)
def test_drawings_documents_and_archives_are_called_what_they_are(content: bytes, name: str) -> None:
    assert foreign_format(content) == name
    assert refusal(content) == f"this is {name} and not a picture; send one of: JPEG, PNG, WEBP, GIF, BMP, TIFF"


@pytest.mark.parametrize("format_", FORMATS)
def test_no_picture_is_taken_for_something_else(format_: str) -> None:
    assert foreign_format(encoded(quarters(), format_)) is None


@pytest.mark.parametrize("format_", ["PPM", "ICO", "TGA", "PCX", "JPEG2000"])
def test_a_picture_format_outside_the_list_is_refused(format_: str) -> None:
    assert "this is not a picture" in refusal(encoded(quarters(), format_))


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_short_is_refused(cat: bytes, format_: str, share: float) -> None:
    with Image.open(io.BytesIO(cat)) as photograph:
        content = encoded(photograph.convert("RGB"), format_)
    message = refusal(content[: int(len(content) * share)], max_pixels=24_000_000)
    assert message.startswith("the picture is damaged or cut short (")
    assert message.endswith("); send the whole file")


def test_the_most_pixels_are_allowed() -> None:
    assert decoded(encoded(quarters(), "PNG"), max_pixels=SIZE * SIZE).shape == (SIZE, SIZE, 3)


def test_one_pixel_more_is_refused_with_both_numbers() -> None:
    content = encoded(Image.new("L", (1001, 1000)), "PNG")
    assert refusal(content) == "the picture has 1001x1000 pixels, more than the 1,000,000 allowed; scale it down"


def test_pixels_are_counted_before_anything_is_decoded() -> None:
    # The announced pixels do not exist: decoding would report damage instead.
    assert "has 5000x5000 pixels" in refusal(png_header(5000, 5000))
    assert "damaged" in refusal(png_header(500, 500))


@pytest.mark.parametrize("side", [10_000, 14_000, 100_000, 0x7FFFFFFF])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    message = refusal(png_header(side, side))
    assert "pixels" in message
    assert message.endswith("scale it down")


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(size: tuple[int, int]) -> None:
    assert "picture" in refusal(png_header(*size))


def tiled_tiff(tile: int) -> bytes:
    """A grey TIFF of 4x4 pixels in one tile of `tile` x `tile`, whose data is empty."""
    entries = [(256, 4), (257, 4), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile), (324, 8), (325, 0)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)


def test_a_tiff_in_one_huge_tile_is_refused_before_it_is_decoded() -> None:
    assert "tiles have 26500x26500 pixels" in refusal(tiled_tiff(26_500))
    assert "damaged" in refusal(tiled_tiff(16))


def test_a_floating_point_tiff_is_refused_rather_than_taken_for_black() -> None:
    buffer = io.BytesIO()
    Image.new("F", (8, 8), 0.5).save(buffer, "TIFF")
    assert refusal(buffer.getvalue()).startswith("pictures of floating-point values have no defined white")
