"""From the bytes somebody sent to pixels: every limit and refusal of a picture is here."""

import io

from PIL import Image

from service.errors import PictureError
from training.pixels import Pixels, to_pixels

# Formats with a decoder that is meant for untrusted input; the content decides, never the file's name.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def decode(content: bytes, *, size: int, channels: int, max_pixels: int) -> Pixels:
    """Decode one picture to uint8 [size, size, channels]. Raises PictureError saying what was wrong.

    The number of pixels is checked in the header, before anything is decoded.
    """
    if not content:
        raise PictureError("the file is empty")
    try:
        with _opened(content) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PictureError(
                    f"the picture has {width}x{height} pixels, more than the {max_pixels:,} allowed; scale it down"
                )
            return to_pixels(image, size, channels)
    except PictureError:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise PictureError(f"the picture is damaged or cut short ({_short(error)}); send the whole file") from error


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError("the picture has too many pixels; scale it down") from error
    except Exception as error:
        raise PictureError(f"this is not a picture; send one of: {', '.join(FORMATS)}") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:120]
