"""Initial weights other than PyTorch's: a first convolution that whitens patches, and the mean of other runs'."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from training.classifier import Preprocess

PICTURES = 2000  # whose patches are looked at, or up to twice as many: a million and more patches
EPSILON = 5e-4  # added to the variances, so that directions with none are not blown up (Jordan 2024)


def whiten_first(network: nn.Module, preprocess: Preprocess, images: Tensor) -> None:
    """Let the first convolution whiten the patches of uint8 images [N, H, W, C], as far as its filters go.

    Its filters become the principal axes of the patches, strongest first, each divided by its standard deviation, and
    the same with the opposite sign, so that a ReLU loses nothing (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds").
    Filters beyond those keep their random weights.
    """
    first = first_convolution(network)
    # Evenly spread, as a folder's pictures come class by class: the first ones show one class alone.
    some = preprocess(images[:: max(1, len(images) // PICTURES)].cpu())
    patches = unfold(some, first.kernel_size).movedim(1, 2).flatten(end_dim=1).double()
    variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (axes / (variances + EPSILON).sqrt()).T.flip(0)
    count = min(first.out_channels // 2, len(filters))
    both = torch.stack((filters[:count], -filters[:count]), dim=1).flatten(end_dim=1)
    with torch.no_grad():
        first.weight[: 2 * count] = both.view(2 * count, *first.weight.shape[1:]).to(first.weight.dtype)


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts with the same names and shapes, in float32; whole numbers are those of the first.

    Of networks that were fitted from the same weights on, it is often better than each (Wortsman et al. 2022, "Model
    soups"). The statistics of its norms are not the mean of theirs: they need some steps of training to settle.
    """

    def mean(name: str) -> Tensor:
        tensors = [state[name] for state in states]
        return (
            torch.stack([each.float() for each in tensors]).mean(dim=0)
            if tensors[0].is_floating_point()
            else tensors[0]
        )

    return {name: mean(name) for name in states[0]}


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The first convolution of a network; every network here has one."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))
