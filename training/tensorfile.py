"""A safetensors file with one JSON description in its header. No pickle; equal content gives equal bytes."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


class TensorFileError(Exception):
    """The bytes are damaged, or were not written by this project."""


def encode(tensors: Mapping[str, Tensor], key: str, description: Mapping[str, Any]) -> bytes:
    """The bytes of a file; several header keys would be written in a random order, so `key` holds everything."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return bytes(safetensors.torch.save(plain, {key: json.dumps(description, sort_keys=True, allow_nan=False)}))


def decode(content: bytes, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file. Raises TensorFileError."""
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise TensorFileError(f"damaged or not a safetensors file ({error})") from error
    try:
        description = json.loads(header["__metadata__"][key])
    except (ValueError, KeyError, TypeError) as error:
        raise TensorFileError(f"not written by this project: its header has no readable {key!r} entry") from error
    if not isinstance(description, dict):
        raise TensorFileError(f"its {key!r} entry is not a JSON object")
    return tensors, description
