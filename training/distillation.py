"""Learning from finished networks, the teachers, as well as from labels (Hinton, Vinyals and Dean 2015)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from training.checkpoint import Checkpoint

Teacher = Callable[[Tensor], Tensor]  # uint8 images [N, H, W, C] to logits [N, K]


def teacher(sources: Sequence[Checkpoint], on: torch.device, layout: torch.memory_format) -> Teacher:
    """The mean logits of finished networks, which see the very pictures that the learner sees and learn nothing."""
    classifiers = [
        source.build_classifier().to(on, memory_format=layout)  # type: ignore[call-overload]
        for source in sources
    ]

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        found = [classifier.network(classifier.preprocess(images)).float() for classifier in classifiers]
        return torch.stack(found).mean(dim=0)

    return logits


def loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far the probabilities of `logits` are from the teacher's, both float32 [N, K], at a temperature; a scalar.

    The factor of the temperature squared keeps the gradients as large as the labels' at any temperature.
    """
    ours, wanted = (log_softmax(each.float() / temperature, dim=1) for each in (logits, taught))
    return kl_div(ours, wanted, reduction="batchmean", log_target=True) * temperature**2
