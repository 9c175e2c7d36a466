"""A network in training, with everything that moves its weights; `build` makes one from a recipe."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import device, distillation, distributed, initial, networks, optimizers
from training.checkpoint import Checkpoint, Metadata
from training.classifier import Preprocess
from training.data import colour
from training.data.colour import Palette
from training.distillation import Teachers
from training.distributed import Processes
from training.recipe import Recipe


@dataclass(frozen=True)
class Trainee:
    """A network in training: what it is trained by, what feeds it and what moves its weights."""

    recipe: Recipe
    seed: int
    classes: int
    network: nn.Module
    forward: Callable[[Tensor], Tensor]  # the network, compiled or spread over processes where that was asked for
    averaged: AveragedModel | None  # of the weights, where the recipe asks for it
    preprocess: Preprocess
    palette: Palette
    teachers: Teachers | None
    optimizers: tuple[Optimizer, ...]
    device: torch.device
    processes: Processes

    def mixed_precision(self) -> AbstractContextManager[object]:
        """What forward passes run under."""
        return nullcontext() if self.recipe.precision == "fp32" else device.mixed_precision(self.device)

    @property
    def best_network(self) -> nn.Module:
        """What is measured and saved: the averaged weights where there are any."""
        return self.network if self.averaged is None else self.averaged.module


def build(
    recipe: Recipe,
    metadata: Metadata,
    images: Tensor,
    on: torch.device,
    *,
    weights: Mapping[str, Tensor] | None = None,
    teachers: Sequence[Checkpoint] = (),
    processes: Processes = distributed.SINGLE,
    compiled: bool = False,
) -> Trainee:
    """A trainee with weights of the run's seed, or the given ones; `images` are the pictures it is to be fitted to."""
    preprocess = Preprocess(metadata.mean, metadata.std)
    network = _network(recipe, metadata, preprocess, images, weights)
    if processes.count > 1 and on.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # Convolutions on CUDA and CPU are faster on NHWC memory; MPS gains nothing from it.
    layout = torch.contiguous_format if on.type == "mps" else torch.channels_last
    network = network.to(on, memory_format=layout)  # type: ignore[call-overload]
    average = get_ema_multi_avg_fn(recipe.ema)
    forward = network if processes.count == 1 else distributed.wrap(network, on)
    return Trainee(
        recipe=recipe,
        seed=metadata.seed,
        classes=len(metadata.classes),
        network=network,
        forward=torch.compile(forward) if compiled else forward,
        averaged=AveragedModel(network, multi_avg_fn=average, use_buffers=True) if recipe.ema else None,
        preprocess=preprocess.to(on),
        palette=colour.palette(images, on),
        teachers=distillation.teachers(teachers, on, layout) if teachers else None,
        optimizers=optimizers.build(recipe, network),
        device=on,
        processes=processes,
    )


def _network(
    recipe: Recipe, metadata: Metadata, preprocess: Preprocess, images: Tensor, weights: Mapping[str, Tensor] | None
) -> nn.Module:
    """The recipe's network with its first weights, and with what stays as it is marked so."""
    torch.manual_seed(metadata.seed)
    network = networks.build(
        recipe.network,
        classes=len(metadata.classes),
        channels=metadata.channels,
        size=metadata.size,
        **recipe.arguments,
    )
    if weights is not None:
        network.load_state_dict(weights)
    elif recipe.first_convolution != "random":
        initial.whiten_first(network, preprocess, images)
    if recipe.first_convolution == "frozen":
        initial.first_convolution(network).requires_grad_(False)
    return network
