"""A few pictures and the outputs an engine must reproduce before it serves: an uncompressed npz without pickles."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Not from training.pixels, which would import Pillow: to read a bundle should take no longer than it must.
Pixels = NDArray[np.uint8]

PICTURES = 8
# What numpy and zipfile raise of bytes that they did not write.
DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def pictures(size: int, channels: int) -> Pixels:
    """What an engine is checked on: uint8 [8, size, size, channels], every time the same."""
    images = np.random.default_rng(1).integers(0, 256, (PICTURES, size, size, channels), dtype=np.uint8)
    # Every second one smooth, since noise alone stays far from what photographs do to a network.
    images[::2] = images[::2, :1, :1]
    images[::2, : size // 2] //= 2
    return images


def encode(images: Pixels, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> bytes:
    """The bytes of the file, with both outputs [N, K] for `images`; equal content gives equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, images=images, logits=logits, probabilities=probabilities)
    return buffer.getvalue()


def check(content: bytes, *, size: int, channels: int, classes: int) -> None:
    """Raise ValueError where the file is damaged, or its outputs are not those of so many classes."""
    found = _arrays(content)
    count = len(found.get("images", ()))
    expected = {
        "images": ("uint8", (count, size, size, channels)),
        "logits": ("float32", (count, classes)),
        "probabilities": ("float32", (count, classes)),
    }
    shapes = {name: (str(values.dtype), values.shape) for name, values in found.items()}
    if shapes != expected or count == 0:
        told = ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in shapes.items())
        needed = f"pictures of {size}x{size}x{channels} and outputs for {classes} classes"
        raise ValueError(f"has {told or 'nothing'}; {needed} are needed")
    if not all(np.isfinite(found[name]).all() for name in ("logits", "probabilities")):
        raise ValueError("has outputs that are not finite numbers")


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # A few bytes could otherwise unfold to more than the memory holds.
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise ValueError("it is compressed")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except DAMAGE as error:
        raise ValueError(f"is no self-check ({error})") from error
