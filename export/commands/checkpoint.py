"""python -m export CHECKPOINT --out DIR [--store NAME]: through the gate into a bundle."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bentoml.exceptions import BentoMLException
from rich.console import Console

from export import assemble, store
from export.bundle import BundleError
from export.commands import results
from export.graph import GraphError
from export.parity import ParityError
from training import checkpoint
from training.checkpoint import CheckpointError
from training.data import sources
from training.data.dataset import DataError

COMMANDS = """\
commands, as the first word in place of a checkpoint (whose path may be written ./list):
  list   the versions in the BentoML model store
  show   what one version is
  diff   how two versions differ
  use    make a version the one that `bentoml serve` loads
"""

REFUSALS = (CheckpointError, DataError, GraphError, BundleError, BentoMLException, ValueError, OSError)


def main(words: Sequence[str]) -> int:
    """Parse, export, print the gate's table. Returns the exit status: 1 where nothing was written."""
    options = parser().parse_args(words)
    console = Console()
    try:
        pictures = None
        if options.data_dir is not None:
            meta = checkpoint.load(options.checkpoint).metadata
            pictures = assemble.labelled_pictures(options.data, options.data_dir, meta)
        written, report = assemble.export(
            options.checkpoint, options.out, pictures, name=options.name, note=options.note
        )
        results.show(console, report.table(), report.accuracy, written)
        if options.store:
            results.keep(console, written, options.store)
    except ParityError as error:
        console.print(error.report.table())
        print(f"error: {error}; {options.out} was not written", file=sys.stderr)
        return 1
    except REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; what was not printed as written or stored is as it was", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The options; its help names the other commands too."""
    found = argparse.ArgumentParser(
        prog="python -m export",
        description="Export a checkpoint to a bundle, if ONNX gives the same answers.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    found.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the bundle goes")
    found.add_argument(
        "--store",
        metavar="NAME",
        nargs="?",
        const=store.NAME,
        type=results.store_name,
        help=f"also into the BentoML store, as the latest of NAME ({store.NAME})",
    )
    found.add_argument("--name", help="the model's name (default: alexnet-DATASET)")
    found.add_argument("--note", default="", help="a sentence for the model card, below the accuracies")
    found.add_argument("--data-dir", type=Path, metavar="DIR", help="check on the test pictures found here")
    found.add_argument("--data", default="folder", choices=sources.KINDS, help="what --data-dir holds")
    return found
