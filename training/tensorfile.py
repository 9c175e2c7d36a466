"""A safetensors file with one JSON description in its header. No pickle; equal content gives equal bytes.

The header also holds a SHA-256 over description and tensors, because safetensors itself notices a shortened file but
not a changed bit.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor


class TensorFileError(Exception):
    """The bytes are damaged, or were not written by this project."""


def encode(tensors: Mapping[str, Tensor], key: str, description: Mapping[str, Any]) -> bytes:
    """The bytes of a file; several header keys would be written in a random order, so `key` holds everything."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    signed = {"description": description, "sha256": _sha256(plain, description)}
    return bytes(safetensors.torch.save(plain, {key: json.dumps(signed, sort_keys=True, allow_nan=False)}))


def decode(content: bytes, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a file. Raises TensorFileError."""
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise TensorFileError(f"damaged or not a safetensors file ({error})") from error
    try:
        signed = json.loads(header["__metadata__"][key])
        description, sha256 = dict(signed["description"]), signed["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TensorFileError(f"not written by this project: its header has no readable {key!r} entry") from error
    if _sha256(tensors, description) != sha256:
        raise TensorFileError("damaged: its content differs from the SHA-256 in its header")
    return tensors, description


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sha256(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    return hashlib.sha256(f"{text}\n{tensors_sha256(tensors)}".encode()).hexdigest()
