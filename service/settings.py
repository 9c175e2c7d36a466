"""Settings from `ALEXNET_*` environment variables, checked before anything starts.

Unknown `ALEXNET_*` variables are left alone: Kubernetes itself sets some for a service of that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from export.bundle import FILES

VARIANTS = tuple(FILES)
ENGINES = ("onnx-cuda", "torch-cuda", "onnx-cpu", "torch-cpu")
MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
PILLOW_MEGAPIXELS = 89  # from here on Pillow itself warns of decompression bombs


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names variable, value and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What an operator may choose."""

    model: str | None = None  # a tag of the BentoML store, e.g. alexnet:0123456789ab; None is the latest
    engine: str = "auto"
    variant: str = "auto"  # of the graph; auto is the one that the bundle prefers for the engine
    max_body_mib: int = 10  # of a whole request
    max_pictures: int = 256  # in one request
    max_megapixels: int = 24  # of one picture, checked before it is decoded

    @property
    def max_body_bytes(self) -> int:
        """Largest request body in bytes."""
        return self.max_body_mib * MEBIBYTE

    @property
    def max_pixels(self) -> int:
        """Most pixels a picture may have."""
        return self.max_megapixels * MEGAPIXEL


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError."""
    return Settings(
        model=environment.get("ALEXNET_MODEL") or None,
        engine=_choice(environment, "ALEXNET_ENGINE", Settings.engine, ("auto", *ENGINES)),
        variant=_choice(environment, "ALEXNET_VARIANT", Settings.variant, ("auto", *VARIANTS)),
        max_body_mib=_number(environment, "ALEXNET_MAX_BODY_MIB", Settings.max_body_mib, 1024),
        max_pictures=_number(environment, "ALEXNET_MAX_PICTURES", Settings.max_pictures, 10_000),
        max_megapixels=_number(environment, "ALEXNET_MAX_MEGAPIXELS", Settings.max_megapixels, PILLOW_MEGAPIXELS),
    )


def _choice(environment: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = environment.get(name) or default
    if value not in choices:
        raise SettingsError(f"{name}={value!r} is not one of: {', '.join(choices)}")
    return value


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= most):
        raise SettingsError(f"{name}={text!r} is not a whole number from 1 to {most}")
    return int(text)
