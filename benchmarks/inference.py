"""Pictures a second of every way to run one bundle, in turns in one run: python -m benchmarks.inference

Each variant in each ONNX Runtime provider that loads here, and PyTorch in fp32 and in bf16, classify the same noise at
each batch size. They take turns, and the median of the rounds counts, because a shared machine's speed drifts. Size and
accuracy beside them are those in the bundle; ratios compare with PyTorch in fp32.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from export import bundle, speed
from export.bundle import WEIGHTS, Bundle, Outputs, Runner
from export.parity import seeded_noise
from export.providers import PROVIDERS
from export.runtimes import onnx_runner, torch_runner
from training import checkpoint
from training.pixels import Pixels

BATCHES = (1, 8, 32, 128)
BASELINE = "torch fp32"
Speeds = dict[str, dict[int, float]]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/alexnet-cifar10"), help="a bundle's directory")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="about so long for each row, batch and round")
    options = parser.parse_args()
    console = Console()
    served = bundle.read(options.model)
    runners = {**pytorch(served), **onnx_runtime(served, console)}
    speeds: Speeds = {name: {} for name in runners}
    for batch in BATCHES:
        images = seeded_noise(batch, served.size, served.channels)
        found = speed.pictures_per_second(runners, images, rounds=options.rounds, seconds=options.seconds)
        for name, value in found.items():
            speeds[name][batch] = value
    title = f"{served.name}: pictures a second, and milliseconds a batch; median of {options.rounds} rounds"
    console.print(table(speeds, facts(served, list(runners)), title))


def pytorch(served: Bundle) -> dict[str, Runner]:
    """PyTorch on the CPU in fp32, as the service falls back to it, and in bf16; neither for an imported model."""
    if not served.has_weights:
        return {}
    source = checkpoint.decode(served.load(WEIGHTS), WEIGHTS)
    # Kernels with the channels last are what oneDNN's bf16 kernels take.
    half = source.build_classifier().to(memory_format=torch.channels_last)

    def in_bf16(images: Pixels) -> Outputs:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return Outputs(*(output.float().numpy() for output in half(torch.from_numpy(images))))

    return {BASELINE: torch_runner(source.build_classifier()), "torch bf16": in_bf16}


def onnx_runtime(served: Bundle, console: Console) -> dict[str, Runner]:
    """Each variant in each provider that loads; what does not is printed with the reason."""
    runners: dict[str, Runner] = {}
    for provider in PROVIDERS:
        for variant in served.variants:
            try:
                runners[f"onnx-{provider} {variant}"] = onnx_runner(served.load_variant(variant), provider)
            except Exception as error:  # of a provider that cannot load, ONNX Runtime raises types of its own
                console.print(f"{provider} {variant}: left out, {error}", soft_wrap=True, markup=False)
    return runners


def facts(served: Bundle, names: list[str]) -> dict[str, tuple[str, str]]:
    """Size of the file and accuracy of each row, as the bundle tells them."""
    document = served.document
    files, told = document["files"], {}
    for name in names:
        variant: dict[str, Any] = document["variants"].get(name.split()[-1], {})
        if name.startswith("torch"):
            # Nobody measured bf16; fp32 is the gate's reference.
            variant = {"file": WEIGHTS, "accuracy": document["accuracy"].get("test") if name == BASELINE else None}
        share = variant.get("accuracy")
        told[name] = (f"{files[variant['file']]['bytes'] / 1e6:.1f} MB", "-" if share is None else f"{share:.2%}")
    return told


def table(speeds: Speeds, told: dict[str, tuple[str, str]], title: str) -> Table:
    """One row a runner: size, accuracy, pictures a second with the time of a batch, and the ratio to the baseline."""
    found = Table(title=title, title_justify="left")
    found.add_column("")
    for heading in ("size", "accuracy", *(f"batch {batch}" for batch in BATCHES)):
        found.add_column(heading, justify="right")
    base = speeds.get(BASELINE)
    for name, row in speeds.items():
        ratio = {batch: f" ({row[batch] / base[batch]:.2f}x)" if base else "" for batch in BATCHES}
        cells = [f"{row[b]:,.0f}{ratio[b]}\n{1000 * b / row[b]:,.1f} ms" for b in BATCHES]
        found.add_row(name, *told[name], *cells)
    return found


if __name__ == "__main__":
    main()
