"""Settings from `ALEXNET_*` environment variables, checked before anything starts.

Unknown `ALEXNET_*` variables are left alone: Kubernetes itself sets some for a service of that name.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

ENGINES = ("onnx-cuda", "torch-cuda", "onnx-cpu", "torch-cpu")
MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
PILLOW_MEGAPIXELS = 89  # from here on Pillow itself warns of decompression bombs


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names variable, value and what is allowed."""


@dataclass(frozen=True)
class Kind:
    """What values a variable takes: in words, and as a function that raises ValueError for any other text."""

    allowed: str
    parse: Callable[[str], Any]


def _number(least: int, most: int) -> Kind:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 6 and least <= int(text) <= most):
            raise ValueError
        return int(text)

    return Kind(f"a whole number from {least} to {most}", parse)


def _choice(*choices: str) -> Kind:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return Kind(f"one of: {', '.join(choices)}", parse)


def _setting(default: Any, kind: Kind, meaning: str) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """What an operator may choose. Each field is the variable ALEXNET_ and its name in capitals."""

    model: str | None = _setting(
        None,
        Kind("a tag of the BentoML store", str),
        "the model that `bentoml serve` and `bentoml build` take; without it `alexnet:latest`",
    )
    engine: str = _setting(
        "auto",
        _choice("auto", *ENGINES),
        "one engine by name, and the start fails with the reason if it cannot run; `auto` takes the first that runs",
    )
    max_body_mib: int = _setting(10, _number(1, 1024), "largest request, in MiB")
    max_pictures: int = _setting(256, _number(1, 10_000), "most pictures in a request")
    max_megapixels: int = _setting(
        24, _number(1, PILLOW_MEGAPIXELS), "largest picture, checked before it is decoded, in millions of pixels"
    )

    @property
    def max_body_bytes(self) -> int:
        """Largest request body in bytes."""
        return self.max_body_mib * MEBIBYTE

    @property
    def max_pixels(self) -> int:
        """Most pixels a picture may have."""
        return self.max_megapixels * MEGAPIXEL


def variable(setting: Field[Any]) -> str:
    """The environment variable of a field of Settings."""
    return f"ALEXNET_{setting.name.upper()}"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings; an empty value means the default. Raises SettingsError."""
    given = {setting: environment.get(variable(setting)) for setting in fields(Settings)}
    return Settings(**{setting.name: _parsed(setting, text) for setting, text in given.items() if text})


def _parsed(setting: Field[Any], text: str) -> Any:
    kind: Kind = setting.metadata["kind"]
    try:
        return kind.parse(text)
    except ValueError:
        raise SettingsError(f"{variable(setting)}={text!r} is not {kind.allowed}") from None


def document() -> str:
    """docs/settings.md, from the fields themselves."""
    rows = [
        f"| `{variable(setting)}` | {_default(setting)} | {setting.metadata['kind'].allowed} "
        f"| {setting.metadata['meaning']} |"
        for setting in fields(Settings)
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables, read once at the start. A value that is not allowed stops the start with the",
            "variable, the value and what is allowed. An empty value means the default.",
            "",
            "| variable | default | allowed | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "This page is the output of `python -m service settings`; a test compares it.",
            "",
        ]
    )


def _default(setting: Field[Any]) -> str:
    return "none" if setting.default is None else f"`{setting.default}`"
