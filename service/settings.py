"""Settings from `ALEXNET_*` environment variables, checked before anything starts.

Unknown `ALEXNET_*` variables are left alone: Kubernetes itself sets some for a service of that name.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from export.bundle import FILES

VARIANTS = tuple(FILES)
ENGINES = ("onnx-cuda", "torch-cuda", "onnx-openvino", "onnx-cpu", "torch-cpu")
MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
PILLOW_MEGAPIXELS = 89  # from here on Pillow itself warns of decompression bombs


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names variable, value and what is allowed."""


@dataclass(frozen=True)
class Kind:
    """What values a variable takes: in words, and as a function that raises ValueError or KeyError for other text."""

    allowed: str
    parse: Callable[[str], Any]
    secret: bool = False  # never to be shown, not even where it is wrong


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


def _flag() -> Kind:
    return Kind("0 or 1", lambda text: {"0": False, "1": True}[text])


def _secret() -> Kind:
    def parse(text: str) -> str:
        # A byte outside of these cannot stand in a header, or would be cut off there.
        if not (16 <= len(text) <= 256 and all("!" <= character <= "~" for character in text)):
            raise ValueError
        return text

    return Kind("16 to 256 printable ASCII characters without spaces", parse, secret=True)


def _setting(default: Any, kind: Kind, meaning: str) -> Any:
    return field(default=default, repr=not kind.secret, metadata={"kind": kind, "meaning": meaning})


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
        "one engine by name, and the start fails with the reason if it cannot run; `auto` takes the first that runs, "
        "and of `onnx-openvino` and `onnx-cpu` the one that is faster here",
    )
    variant: str = _setting(
        "auto",
        _choice("auto", *VARIANTS),
        "the variant of the graph that ONNX Runtime runs; `auto` is the one that the bundle prefers for the engine",
    )
    max_body_mib: int = _setting(10, _number(1, 1024), "largest request, in MiB")
    max_pictures: int = _setting(256, _number(1, 10_000), "most pictures in a request")
    max_megapixels: int = _setting(
        24, _number(1, PILLOW_MEGAPIXELS), "largest picture, checked before it is decoded, in millions of pixels"
    )
    request_seconds: int = _setting(
        20, _number(1, 3600), "how long a request may take, from its first byte to the engine, in seconds"
    )
    max_requests: int = _setting(
        256, _number(1, 100_000), "requests that a worker has at once, with those that are still arriving"
    )
    max_answering: int = _setting(
        128, _number(1, 100_000), "requests that have arrived and are being answered at once; more would wait for them"
    )
    max_requests_per_client: int | None = _setting(
        None,
        _number(1, 100_000),
        "of these, requests of one address; without it there is no such limit, as a proxy's address is that of all",
    )
    max_batch: int = _setting(64, _number(1, 1024), "most pictures in one call of the engine")
    max_queue: int = _setting(1024, _number(1, 100_000), "pictures that may wait for a worker's engine")
    max_wait_ms: int = _setting(
        0, _number(0, 1000), "how long an idle engine waits for more pictures than are there, in milliseconds"
    )
    shutdown_seconds: int = _setting(
        10, _number(1, 300), "how long a server that is to stop may finish what it has begun, in seconds"
    )
    warm_fallback: bool = _setting(
        False, _flag(), "whether the engine behind the first one is loaded at the start and not when it is needed"
    )
    workers: int | None = _setting(
        None, _number(1, 256), "processes; without it one for each GPU, and on the CPU one for each core"
    )
    threads: int | None = _setting(
        None,
        _number(1, 256),
        "threads of an engine on the CPU; without it one where there are several workers, else all",
    )
    tf32: bool = _setting(
        False, _flag(), "whether `onnx-cuda` may compute in TF32: faster, and logits differ by up to 0.3"
    )
    cuda_memory_mib: int = _setting(
        0, _number(0, 999_999), "most memory that `onnx-cuda` takes for its arena, in MiB; 0 is no limit"
    )
    access_log: bool = _setting(True, _flag(), "whether every request gives a line of JSON on the standard output")
    json_log: bool = _setting(False, _flag(), "whether all else in the log is JSON too, as in the image, and not text")
    api_key: str | None = _setting(
        None, _secret(), "what clients must send as `Authorization: Bearer KEY`; probes and `/docs` stay open"
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
    except (ValueError, KeyError):
        shown = f" (of {len(text)} characters)" if kind.secret else f"={text!r}"
        raise SettingsError(f"{variable(setting)}{shown} is not {kind.allowed}") from None


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
    default = setting.default
    return "none" if default is None else f"`{int(default) if isinstance(default, bool) else default}`"
