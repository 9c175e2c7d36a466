"""How far a variant may be from PyTorch in fp32 on the CPU, by what runs it: the one table of the gate's limits."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Limits:
    """What is allowed on the pictures of the gate, and why just that."""

    logits: float  # largest difference of a logit
    probabilities: float  # largest difference of a probability
    agreement: float  # least share of pictures with the same answer, in 0..1
    accuracy_loss: float  # in 0..1, where labels are known
    why: str

    @property
    def exact(self) -> bool:
        """Whether the numbers themselves are held to a limit; else only the answers are."""
        return self.logits < inf


EXACT_ON_CPU = Limits(
    logits=1e-4,
    # Softmax turns a difference of logits into at most 1/(2 T) of it: half at temperature 1, five times as much at the
    # coldest one, 0.1, which is fitted only where logits, and so their differences, are small.
    probabilities=1e-4,
    agreement=1.0,
    accuracy_loss=1.0,
    why="both compute in fp32 and differ in the order of sums: by about 1e-5 on our networks; 1e-4 leaves room for "
    "other processors and is far below what changes an answer",
)
EXACT_ELSEWHERE = Limits(
    logits=1e-3,
    probabilities=1e-3,
    agreement=1.0,
    accuracy_loss=1.0,
    why="fp32 (without TF32) in other kernels, which sum in other orders and in part by other algorithms (Winograd)",
)
HALF = Limits(
    logits=inf,
    probabilities=inf,
    agreement=0.999,
    accuracy_loss=0.0005,
    why="11 bits of mantissa move logits by about a thousandth, which may decide near ties and nothing else",
)
EIGHT_BITS = Limits(
    logits=inf,
    probabilities=inf,
    agreement=0.99,
    accuracy_loss=0.003,
    why="a 4.5 M-parameter network lost 0.0 to 0.03 points with 99.6 % agreement; ten times that loss is a fault of "
    "the calibration, and is still below the 0.45 points that 5,000 pictures tell apart",
)

# Variant and provider: the processor, a GPU, Intel's plugin, and onnx's evaluator, which is plain NumPy.
LIMITS: dict[tuple[str, str], Limits] = {
    ("fp32", "cpu"): EXACT_ON_CPU,
    ("fp32", "cuda"): EXACT_ELSEWHERE,
    ("fp32", "openvino"): EXACT_ELSEWHERE,
    ("fp32", "evaluator"): EXACT_ELSEWHERE,
    ("fp16", "cpu"): HALF,
    ("fp16", "cuda"): HALF,
    ("fp16", "openvino"): HALF,
    ("int8", "cpu"): EIGHT_BITS,
    ("int8", "cuda"): EIGHT_BITS,
    ("int8", "openvino"): EIGHT_BITS,
}
