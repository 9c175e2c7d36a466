"""python -m export CHECKPOINT --out DIR [--store NAME]: through the gate into a bundle."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import assemble, pictures
from export.commands import results
from export.commands.options import add_options, add_pictures
from export.graph import GraphError
from export.verdicts import ParityError
from training import checkpoint
from training.checkpoint import CheckpointError
from training.data.dataset import DataError

COMMANDS = """\
commands, as the first word in place of a checkpoint (whose path may be written ./list):
  import   wrap an ONNX classifier that was exported elsewhere into a bundle
  list     the versions in the BentoML model store
  show     what one version is
  diff     how two versions differ
  use      make a version the one that `bentoml serve` loads

or --verify-only BUNDLE in place of a checkpoint: the gate on a bundle that exists
"""


def main(words: Sequence[str]) -> int:
    """Parse, export, print the gate's table. Returns the exit status: 1 where nothing was written."""
    options = _parser().parse_args(words)
    return results.status(lambda: _export(options, Console()), CheckpointError, DataError, GraphError, ParityError)


def _export(options: argparse.Namespace, console: Console) -> None:
    found = None
    if options.data_dir is not None:
        found = pictures.labelled(options.data, options.data_dir, checkpoint.load(options.checkpoint).metadata)
    try:
        written, report = assemble.export(
            options.checkpoint, options.out, found, name=options.name, note=options.note, shown=True
        )
    except ParityError as error:
        results.report(console, error.report)
        raise
    results.show(console, report, written)
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
    add_options(parser)
    parser.add_argument("--name", help="the model's name (default: alexnet-DATASET)")
    add_pictures(parser)
    return parser
