"""A network in training, with everything that moves its weights; `build` makes one from a recipe."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import device, distributed, networks
from training.checkpoint import Metadata
from training.classifier import Preprocess
from training.data import colour
from training.data.colour import Palette
from training.distributed import Processes
from training.recipe import Recipe


@dataclass(frozen=True)
class Trainee:
    """A network in training: what it is trained by, what feeds it and what moves its weights."""

    recipe: Recipe
    seed: int
    network: nn.Module
    forward: Callable[[Tensor], Tensor]  # the network, compiled or spread over processes where that was asked for
    averaged: AveragedModel | None  # of the weights, where the recipe asks for it
    preprocess: Preprocess
    palette: Palette
    optimizer: torch.optim.Optimizer
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
    processes: Processes = distributed.SINGLE,
    compiled: bool = False,
) -> Trainee:
    """A trainee with weights of the run's seed, or the given ones; `images` are the pictures it is to be fitted to."""
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
        network=network,
        forward=torch.compile(forward) if compiled else forward,
        averaged=AveragedModel(network, multi_avg_fn=average, use_buffers=True) if recipe.ema else None,
        preprocess=Preprocess(metadata.mean, metadata.std).to(on),
        palette=colour.palette(images, on),
        optimizer=_optimizer(recipe, network),
        device=on,
        processes=processes,
    )


def _optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rate = recipe.stages[0].learning_rate
    betas = (recipe.momentum, 0.999)
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum)
        case "nesterov":
            return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, betas=betas)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=betas)
