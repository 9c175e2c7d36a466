"""How a checkpoint stores its weights: as they are, or in half precision. The only place where they are rounded.

Half precision is for size alone: whoever loads such weights into a network gets float32 parameters again, and
training itself, with the state to resume it, never sees the rounded ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from training.recipe import Storage


def stored(weights: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """A state dict as a checkpoint stores it; "float32" changes nothing.

    "float16" rounds every floating tensor with two or more dimensions (kernels and matrices) to the nearest float16.
    Biases and the norms' vectors stay float32: they are a thousandth of the size, and every output depends on each.
    """
    return {name: _halved(tensor) if storage == "float16" else tensor for name, tensor in weights.items()}


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    half = tensor.half()
    # Beyond 65,504 a value would become infinite; an epoch of work is worth more than one tensor's bytes.
    return half if torch.isfinite(half).all() else tensor
