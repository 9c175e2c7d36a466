"""Learning from finished networks, the teachers, as well as from labels (Hinton, Vinyals and Dean 2015)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from training.checkpoint import Checkpoint

Teachers = Callable[[Tensor], Tensor]  # uint8 images [N, H, W, C] to logits [N, K]


def teachers(sources: Sequence[Checkpoint], on: torch.device, layout: torch.memory_format) -> Teachers:
    """The mean of the raw logits of finished networks, which see what the learner sees, and learn nothing."""
    classifiers = [
        source.build_classifier().to(on, memory_format=layout)  # type: ignore[call-overload]
        for source in sources
    ]

    @torch.no_grad()
    def mean_logits(images: Tensor) -> Tensor:
        found = [classifier.network(classifier.preprocess(images)).float() for classifier in classifiers]
        return torch.stack(found).mean(dim=0)

    return mean_logits


def loss(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """How far the probabilities of `logits` are from those of the teachers' logits `wanted`; a scalar.

    Both are float32 [N, K]; the temperature divides both, and its square as a factor keeps the gradients as large as
    the labels' at any temperature.
    """
    ours, theirs = (log_softmax(each.float() / temperature, dim=1) for each in (logits, wanted))
    return kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
