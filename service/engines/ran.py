"""What engines computed and which of them did: rows that a failover gives, and a batcher hands to those who asked."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from export.bundle import Outputs


class Ran(NamedTuple):
    """The rows of pictures, and the names of the engines that ran these: each once, in the order of first use."""

    outputs: Outputs
    engines: tuple[str, ...]

    def part(self, start: int, stop: int) -> "Ran":
        """The rows from `start` up to `stop`."""
        logits, probabilities = self.outputs
        return Ran(Outputs(logits[start:stop], probabilities[start:stop]), self.engines)


def joined(parts: Sequence[Ran]) -> Ran:
    """One or more of them, one after the other."""
    if len(parts) == 1:
        return parts[0]
    logits, probabilities = zip(*(part.outputs for part in parts), strict=True)
    engines = dict.fromkeys(name for part in parts for name in part.engines)
    return Ran(Outputs(np.concatenate(logits), np.concatenate(probabilities)), tuple(engines))
