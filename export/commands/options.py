"""Options that several commands have."""

import argparse
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from export import store
from training.data import sources


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
