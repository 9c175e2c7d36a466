"""The energy of a picture's logits, and the threshold above which a picture counts as unknown.

Liu et al. 2020, "Energy-based Out-of-distribution Detection", at temperature 1: the logits as the network gives them.
Without torch, because the service asks what training asked: there is one definition for both.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE_KEPT = 0.95  # of the validation pictures, as in Liu et al.

Logits = NDArray[np.floating[Any]]


def energy(logits: Logits) -> NDArray[np.float64]:
    """-log(sum(exp(logits))) of each row of [N, K]: float64 [N]; the lower, the more a picture is like those known."""
    evidence: NDArray[np.float64] = np.logaddexp.reduce(logits, axis=1, dtype=np.float64)
    return -evidence


def fit_threshold(logits: Logits, share: float = SHARE_KEPT) -> float:
    """The lowest energy that at least `share` (above 0, at most 1) of the pictures with these logits do not exceed."""
    # As it is written: in binary, 0.95 of the pictures may come out as a little more than a whole number of them.
    kept = math.ceil(Fraction(str(share)) * len(logits))
    return float(np.sort(energy(logits))[kept - 1])


def is_unknown(logits: Logits, threshold: float) -> NDArray[np.bool_]:
    """Which pictures have an energy above the threshold: bool [N]."""
    return energy(logits) > threshold
