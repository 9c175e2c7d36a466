"""python -m export --verify-only BUNDLE: the gate on a bundle that exists, every variant of it; nothing is written."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import bundle, pictures, verifying
from export.commands import results
from export.commands.options import add_pictures
from export.verdicts import ParityError
from training.checkpoint import CheckpointError
from training.data.dataset import DataError


def main(words: Sequence[str]) -> int:
    """Parse, verify, print the gate's table. Returns the exit status: 1 where any variant fails."""
    options = _parser().parse_args(words)
    return results.status(lambda: _verify(options, Console()), CheckpointError, DataError, ParityError)


def _verify(options: argparse.Namespace, console: Console) -> None:
    found = bundle.read(options.verify_only)
    source = verifying.checkpoint_of(found)
    asked = None
    if options.data_dir is not None:
        asked = pictures.labelled(options.data, options.data_dir, source.metadata).test
    try:
        report = verifying.verify(found, source, asked, shown=True)
    except ParityError as error:
        results.report(console, error.report)
        raise
    results.report(console, report)
    console.print(f"verified: {found.directory} ({found.name}, version {found.version})", soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Run the parity gate on a bundle; nothing is written."
    )
    parser.add_argument("--verify-only", type=Path, required=True, metavar="BUNDLE", help="a bundle's directory")
    add_pictures(parser)
    return parser
