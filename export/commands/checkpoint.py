"""python -m export CHECKPOINT --out DIR [--store NAME]: through the gate into a bundle."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import assemble
from export.commands import results
from export.graph import GraphError
from export.parity import ParityError
from training import checkpoint
from training.checkpoint import CheckpointError
from training.data import sources
from training.data.dataset import DataError

COMMANDS = """\
commands, as the first word in place of a checkpoint (whose path may be written ./list):
  import   wrap an ONNX classifier that was exported elsewhere into a bundle
  list     the versions in the BentoML model store
  show     what one version is
  diff     how two versions differ
  use      make a version the one that `bentoml serve` loads
"""


def main(words: Sequence[str]) -> int:
    """Parse, export, print the gate's table. Returns the exit status: 1 where nothing was written."""
    options = _parser().parse_args(words)
    return results.status(lambda: _export(options, Console()), CheckpointError, DataError, GraphError, ParityError)


def _export(options: argparse.Namespace, console: Console) -> None:
    pictures = None
    if options.data_dir is not None:
        meta = checkpoint.load(options.checkpoint).metadata
        pictures = assemble.labelled_pictures(options.data, options.data_dir, meta)
    try:
        written, report = assemble.export(
            options.checkpoint, options.out, pictures, name=options.name, note=options.note
        )
    except ParityError as error:
        console.print(error.report.table())
        raise
    results.show(console, report.table(), report.accuracy, written)
    if options.store:
        results.keep(console, written, options.store)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Export a checkpoint to a bundle, if ONNX gives the same answers.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    results.add_options(parser)
    parser.add_argument("--name", help="the model's name (default: alexnet-DATASET)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="check on the test pictures found here")
    parser.add_argument("--data", default="folder", choices=sources.KINDS, help="what --data-dir holds")
    return parser
