"""Command line: python -m export CHECKPOINT --out build/bundle [--store alexnet]"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from export import assemble, store
from export.bundle import BundleError
from export.graph import GraphError
from export.parity import ParityError
from training import checkpoint
from training.data import sources
from training.data.dataset import DataError


def main(arguments: list[str] | None = None) -> int:
    """Parse, export, print the gate's table. Returns the exit status: 1 where nothing was written."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        pictures = None
        if options.data_dir is not None:
            meta = checkpoint.load(options.checkpoint).metadata
            pictures = assemble.labelled_pictures(options.data, options.data_dir, meta)
        written, report = assemble.export(
            options.checkpoint, options.out, pictures, name=options.name, note=options.note
        )
    except ParityError as error:
        console.print(error.report.table())
        print(f"error: {error}; {options.out} was not written", file=sys.stderr)
        return 1
    except (checkpoint.CheckpointError, DataError, GraphError, BundleError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; {options.out} is as it was", file=sys.stderr)
        return 130
    console.print(report.table())
    for side, share in report.accuracy.items():
        console.print(f"accuracy with {side}: {share:.2%}", soft_wrap=True)
    console.print(f"bundle: {options.out} ({written.name}, version {written.version})", soft_wrap=True)
    if options.store:
        console.print(f"stored: {store.put(written, options.store)}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Export a checkpoint to a bundle, if ONNX gives the same answers."
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the bundle goes")
    parser.add_argument("--store", metavar="NAME", nargs="?", const=store.NAME, help="also into the BentoML store")
    parser.add_argument("--name", help="the model's name (default: alexnet-DATASET)")
    parser.add_argument("--note", default="", help="a sentence for the model card, below the accuracies")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="check on the test pictures found here")
    parser.add_argument("--data", default="folder", choices=sources.KINDS, help="what --data-dir holds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
