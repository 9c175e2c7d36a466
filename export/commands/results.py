"""What every command that makes a bundle has in common: how it ends, and what it says at its end."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException
from rich.console import Console

from export import parity_report, store
from export.bundle import Bundle, BundleError
from export.verdicts import ParityReport
from training.data import sources


def status(action: Callable[[], None], *refusals: type[Exception]) -> int:
    """Run a command; what it refuses becomes one line and status 1, Ctrl-C becomes status 130."""
    try:
        action()
    except (BundleError, BentoMLException, ValueError, OSError, *refusals) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; what was not said to be written or stored is as it was", file=sys.stderr)
        return 130
    return 0


def report(console: Console, found: ParityReport) -> None:
    """The gate's table, and what was left out."""
    console.print(parity_report.table(found))
    for variant, reason in found.left_out.items():
        console.print(f"{variant} is left out: {reason}", soft_wrap=True)


def show(console: Console, found: ParityReport, written: Bundle) -> None:
    """What the gate found, and where the bundle is."""
    report(console, found)
    console.print(f"bundle: {written.directory} ({written.name}, version {written.version})", soft_wrap=True)


def keep(console: Console, written: Bundle, name: str) -> None:
    """Put the bundle into the store as the latest of `name`, also where it was there before."""
    tag = store.put(written, name)
    store.use(tag)
    console.print(f"stored: {tag}", soft_wrap=True)


def store_name(text: str) -> str:
    """A name that the store takes, or the reason why it is none, before any work is done."""
    try:
        tag = bentoml.Tag.from_str(text)
    except (BentoMLException, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if tag.version is not None:
        raise argparse.ArgumentTypeError(f"{text} has a version, which the bundle's hash will be; give a name alone")
    return str(tag.name)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where a bundle goes, and what its card says, for every command that makes one."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the bundle goes")
    parser.add_argument(
        "--store",
        metavar="NAME",
        nargs="?",
        const=store.NAME,
        type=store_name,
        help=f"also into the BentoML store, as the latest of NAME ({store.NAME})",
    )
    parser.add_argument("--note", default="", help="a sentence for the model card, below the accuracies")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Which pictures the gate is given, for every command that has one."""
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="check on the test pictures found here")
    parser.add_argument("--data", default="folder", choices=sources.KINDS, help="what --data-dir holds")
