"""What moves the weights: the optimisers of a recipe, with decay and rate for weights, biases and norms apart."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Muon, Optimizer

from training.recipe import Recipe


def build(recipe: Recipe, network: nn.Module) -> tuple[Optimizer, ...]:
    """The optimisers of `recipe` for all parameters of `network` that learn; `set_rate` gives them their rate."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in learning if parameter.ndim > 1]
    others = {
        "params": [parameter for parameter in learning if parameter.ndim <= 1],
        "weight_decay": 0.0,
        "rate_factor": recipe.bias_rate,
    }
    if recipe.optimizer == "muon":
        return _muon(recipe, weights), _first_order(recipe, [others])
    return (_first_order(recipe, [{"params": weights, "weight_decay": recipe.weight_decay}, others]),)


def set_rate(optimizers: tuple[Optimizer, ...], rate: float) -> None:
    """Give every group of parameters its share of the learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)


def _first_order(recipe: Recipe, groups: list[dict[str, Any]]) -> Optimizer:
    rate = recipe.stages[0].learning_rate
    betas = (recipe.momentum, 0.999)
    match recipe.optimizer:
        case "sgd":
            return SGD(groups, lr=rate, momentum=recipe.momentum)
        case "nesterov" | "muon":
            return SGD(groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        case "adam":
            return Adam(groups, lr=rate, betas=betas)
        case "adamw":
            return AdamW(groups, lr=rate, betas=betas)


def _muon(recipe: Recipe, weights: list[nn.Parameter]) -> Optimizer:
    """Muon (Jordan et al. 2024) on every weight as a matrix of [outputs, inputs].

    PyTorch's takes matrices only, so it is given views of the weights, and their gradients before every step.
    """
    matrices = [nn.Parameter(_matrix(weight.detach(), like=weight)) for weight in weights]
    optimizer = Muon(
        matrices,
        lr=recipe.stages[0].learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )

    def take_gradients(*_: Any) -> None:
        for weight, matrix in zip(weights, matrices, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, like=weight)

    optimizer.register_step_pre_hook(take_gradients)
    return optimizer


def _matrix(values: Tensor, like: Tensor) -> Tensor:
    """Weights or their gradients as [outputs, inputs], the inputs in the order that weight `like` has in memory."""
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.flatten(start_dim=1)
