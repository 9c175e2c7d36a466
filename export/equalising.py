"""Channels brought to like ranges, so that the 8 bits that all channels of an activation share serve each of them.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1.

A ReLU passes a positive factor on. So what makes a channel can be divided by a factor, and what takes it multiplied.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export import smaller
from training.classifier import Classifier
from training.pixels import Pixels

# What passes a channel's factor on to the layer that takes it.
BETWEEN = (nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Dropout)
MAKERS = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
TINY = 1e-30  # a layer that puts out nothing but zeros divides none by it
SMALLEST = 1e-2  # a channel's range is taken for no less than this part of the largest


@dataclass(frozen=True)
class _Joint:
    """What makes channels, with a weight for each, the ReLU after it, and the layer that takes what that gives."""

    maker: nn.Module
    relu: nn.ReLU
    taker: nn.Conv2d | nn.Linear


@torch.no_grad()
def equalised(classifier: Classifier, images: Pixels) -> Classifier:
    """A copy that gives the same values, up to rounding, and whose channels differ less in range on `images`.

    A factor is the root of the part that a channel's range is of its layer's largest: the whole of it would only move
    the trouble into the weights, whose inputs share a scale. `images` are uint8 [N, H, W, C].
    """
    copy = deepcopy(classifier).eval()
    joints = _joints(copy)
    for joint, largest in zip(joints, _ranges(copy, joints, torch.from_numpy(images)), strict=True):
        factors = (largest / largest.max().clamp(min=TINY)).clamp(min=SMALLEST).sqrt()
        _multiply(joint.maker.weight, 1 / factors, axis=0)
        _multiply(joint.maker.bias, 1 / factors, axis=0)
        inputs = joint.taker.weight.shape[1] // len(factors)  # of one channel: many where it was flattened
        _multiply(joint.taker.weight, factors.repeat_interleave(inputs), axis=1)
    return copy


def _joints(classifier: nn.Module) -> list[_Joint]:
    layers = [layer for layer in classifier.modules() if not list(layer.children())]
    found = []
    for at in range(1, len(layers)):
        maker, relu = layers[at - 1 : at + 1]
        taker = next((layer for layer in layers[at + 1 :] if not isinstance(layer, BETWEEN)), None)
        if (
            isinstance(maker, MAKERS)
            and maker.weight is not None
            and isinstance(relu, nn.ReLU)
            and isinstance(taker, nn.Conv2d | nn.Linear)
        ):
            found.append(_Joint(maker, relu, taker))
    return found


def _ranges(classifier: Classifier, joints: Sequence[_Joint], images: Tensor) -> list[Tensor]:
    """The largest value of every channel after each joint's ReLU: float32 [C]."""
    largest = [torch.zeros(())] * len(joints)

    def look(number: int, output: Tensor) -> None:
        largest[number] = torch.maximum(largest[number], output.movedim(1, 0).flatten(1).amax(dim=1))

    hooks = [
        joint.relu.register_forward_hook(lambda _, __, output, number=number: look(number, output))
        for number, joint in enumerate(joints)
    ]
    for batch in images.split(smaller.BATCH):
        classifier(batch)
    for hook in hooks:
        hook.remove()
    return largest


def _multiply(values: Tensor | nn.Module | None, factors: Tensor, axis: int) -> None:
    if isinstance(values, Tensor):
        values.mul_(factors.reshape([-1 if number == axis else 1 for number in range(values.ndim)]))
