"""Learning from a finished network, the teacher, as well as from labels (Hinton, Vinyals and Dean 2015)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from training.checkpoint import Checkpoint

Teacher = Callable[[Tensor], Tensor]  # uint8 images [N, H, W, C] to logits [N, K]


def teacher(source: Checkpoint, on: torch.device, layout: torch.memory_format) -> Teacher:
    """The logits of a finished network, which sees the very pictures that the learner sees and learns nothing."""
    classifier = source.build_classifier().to(on, memory_format=layout)  # type: ignore[call-overload]

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        found: Tensor = classifier.network(classifier.preprocess(images))
        return found

    return logits


def loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far the probabilities of `logits` are from the teacher's, both float32 [N, K], at a temperature; a scalar.

    The factor of the temperature squared keeps the gradients as large as the labels' at any temperature.
    """
    ours, wanted = (log_softmax(each.float() / temperature, dim=1) for each in (logits, taught))
    return kl_div(ours, wanted, reduction="batchmean", log_target=True) * temperature**2
