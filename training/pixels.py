"""From a decoded picture to the pixels a network sees: the one definition that training, export and service share.

Colour conversion and scaling live here and nowhere else, so a network meets in production exactly what it met in
training. Scaling and normalising the values happens inside the exported graph, not here.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]

COLOUR_MODES = {1: "L", 3: "RGB"}
# Large pictures are shrunk to this many times the size by cheap means first; the Pillow manual calls the result of a
# gap of 3 nearly indistinguishable.
GAP = 3
# Where Pillow has the bytes of EXIF.
EXIF_SOURCES = ("exif", "Raw profile type exif")


class FloatingPointPicture(ValueError):
    """A picture of floating-point values, of which nobody can tell what is white."""

    def __init__(self) -> None:
        super().__init__("pictures of floating-point values have no defined white; convert it to 8 or 16 bits")


def to_pixels(image: Image.Image, size: int, channels: int) -> Pixels:
    """Return `image` as uint8 [size, size, channels], upright, over white, scaled to the whole square.

    The aspect ratio is not kept: nothing of the picture is cut away. Grey, palette, CMYK and 16-bit pictures are
    converted; `channels` is 3 (RGB) or 1 (grey). A picture that has the right size already is not resampled.
    `image` itself is turned upright, and a large JPEG that is not decoded yet will be at a smaller size.
    Raises FloatingPointPicture, and what decoders raise for damaged files.
    """
    # JPEG's own decoder shrinks by 2, 4 or 8 for a fraction of the time, as long as what it leaves is large enough.
    image.draft(None, (GAP * size, GAP * size))
    image.getexif()  # which is kept; what it was read from would be written anew, and may be what nobody can write
    for source in EXIF_SOURCES:
        image.info.pop(source, None)
    ImageOps.exif_transpose(image, in_place=True)
    colour = _flatten(image).convert(COLOUR_MODES[channels])
    if colour.size != (size, size):
        colour = colour.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=GAP)
    return np.asarray(colour, dtype=np.uint8).reshape(size, size, channels)


def _flatten(image: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits and put transparency over white. Raises FloatingPointPicture."""
    if image.mode == "F":
        raise FloatingPointPicture
    if image.mode.startswith("I"):
        # Pillow would clip at 255; 65535 / 257 = 255 maps the whole 16-bit range onto 8 bits.
        values = np.asarray(image).astype(np.int64) // 257
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured)
    return image
