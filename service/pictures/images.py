"""From the bytes somebody sent to pixels: every limit and refusal of a picture is here."""

import io
import re

import simplejpeg
from PIL import Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from training.pixels import FloatingPointPicture, Pixels, to_pixels

# Formats with a decoder that is meant for untrusted input; the content decides, never the file's name.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# First bytes of what people send in place of a picture.
FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
TAR_MAGIC, TAR_PLACE = b"ustar", 257
# A PDF may begin with something else, and an SVG with a byte order mark, comments and a document type.
PDF_MAGIC, PDF_REACH, SVG_REACH = b"%PDF-", 1024, 4096

JPEG_MAGIC = b"\xff\xd8\xff"
# Where more may be said than JFIF's few bytes (how it is turned, by EXIF or XMP, what the colours are), well or badly.
SAYING_MORE = re.compile(rb"\xff(?:[\x01\xe1-\xef\xff]|\xe0(?!\x00\x10JFIF\x00))")
# By the network's channels, the JPEGs whose decoder gives what Pillow would make of their colours.
LIKE_PILLOW = {1: ("GRAY", ("Gray",)), 3: ("RGB", ("Gray", "YCbCr", "RGB"))}


class PictureError(Exception):
    """One picture cannot be used; the others of its request are not concerned."""


class TooManyPixelsError(PictureError):
    """One picture has more pixels than are allowed; nothing of it was decoded."""


def decode(content: bytes, *, size: int, channels: int, max_pixels: int) -> Pixels:
    """Decode one picture to uint8 [size, size, channels]. Raises PictureError saying what was wrong.

    The number of pixels is checked in the header, before anything is decoded.
    """
    if not content:
        raise PictureError("the file is empty")
    if size * size <= max_pixels and (pixels := _ready(content, size, channels)) is not None:
        return pixels
    try:
        with _opened(content) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise TooManyPixelsError(
                    f"the picture has {width}x{height} pixels, more than the {max_pixels:,} allowed; scale it down"
                )
            _refuse_large_tiles(image, max_pixels)
            return to_pixels(image, size, channels)
    except PictureError:
        raise
    except FloatingPointPicture as error:
        raise PictureError(str(error)) from error
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise PictureError(f"the picture is damaged or cut short ({_short(error)}); send the whole file") from error


def foreign_format(content: bytes) -> str | None:
    """What the content is, where it is a document, a drawing or an archive and no picture of pixels; else None."""
    for magic, name in FOREIGN.items():
        if content.startswith(magic):
            return name
    if content[TAR_PLACE : TAR_PLACE + len(TAR_MAGIC)] == TAR_MAGIC:
        return "a tar archive"
    if PDF_MAGIC in content[:PDF_REACH]:
        return "a PDF document"
    # Without its zeros and mark, what an SVG begins with is the same in UTF-16.
    begin = content[:SVG_REACH].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return "an SVG drawing" if begin.startswith(b"<") and b"<svg" in begin.lower() else None


def _ready(content: bytes, size: int, channels: int) -> Pixels | None:
    """The pixels of a sound JPEG that is upright and has the right size already, None for any other picture.

    They are Pillow's, bit for bit, as both libraries have libjpeg-turbo inside; it takes 15 microseconds in place of 80
    (32x32 pixels, AMD EPYC; `python -m benchmarks.request`).
    """
    if not content.startswith(JPEG_MAGIC):
        return None
    colours, known = LIKE_PILLOW[channels]
    try:
        height, width, found, _ = simplejpeg.decode_jpeg_header(content)
        if (height, width) != (size, size) or found not in known or SAYING_MORE.search(content):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(content, colours, strict=True)
    except Exception:  # a KeyError for a subsampling of 4:4:1, for one
        return None  # Pillow says what is wrong, or bears it
    return pixels


def _refuse_large_tiles(image: Image.Image, max_pixels: int) -> None:
    """A TIFF of a few pixels may lie in one huge tile, which is decoded whole."""
    if isinstance(image, TiffImageFile):
        tile = [image.tag_v2.get(tag, 1) for tag in (TILEWIDTH, TILELENGTH)]
        if tile[0] * tile[1] > max_pixels:
            raise TooManyPixelsError(f"the picture's tiles have {tile[0]}x{tile[1]} pixels, more than {max_pixels:,}")


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("the picture has too many pixels; scale it down") from error
    except Exception as error:
        found = foreign_format(content)
        told = f"this is {found} and not a picture" if found else "this is not a picture"
        raise PictureError(f"{told}; send one of: {', '.join(FORMATS)}") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:120]
