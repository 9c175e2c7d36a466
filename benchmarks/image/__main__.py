"""The CPU's image: built, run in a container, asked, looked at and stopped: python -m benchmarks.image"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.image.checks import CHECKS, Failed, Subject, Unchecked
from benchmarks.image.containers import ContainerError, running
from service import launch

PICTURES = Path("tests/golden")


def main() -> int:
    """Build, run, check, print. Returns 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image", description=__doc__)
    parser.add_argument("--model", default="models/alexnet-cifar10", help="a bundle's directory, or a stored tag")
    parser.add_argument("--backend", choices=launch.BACKENDS, default="docker", help="what builds and runs")
    parser.add_argument("--image", help="check this one and build none")
    options = parser.parse_args()
    named = sorted(path for path in PICTURES.iterdir() if path.suffix in {".jpg", ".png"})
    try:
        image = options.image or launch.build_image(options.model, options.backend, "cpu")
        expected = answers_outside(options.model, named)
        with running(options.backend, image) as container:
            held = report(Subject(options.backend, image, container, named, expected))
    except (launch.LaunchError, ContainerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if held else 1


def answers_outside(model: str, named: list[Path]) -> list[dict[str, Any]]:
    """What the same model says of the files in this environment, without a server."""
    command = [sys.executable, "-m", "service", "classify", "--model", model, *map(str, named)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def report(of: Subject) -> bool:
    """Print a line for every check; returns whether all held."""
    print(f"{of.image}, built and run by {of.backend}", flush=True)
    held = True
    for check in CHECKS:
        try:
            verdict, told = "ok", check(of)
        except Failed as error:
            verdict, told, held = "FAILED", str(error), False
        except Unchecked as error:
            verdict, told = "-", str(error)
        print(f"{check.__name__:8} {verdict:6} {told}", flush=True)
    return held


if __name__ == "__main__":
    sys.exit(main())
