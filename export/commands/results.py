"""What every command that makes a bundle says at its end."""

import argparse

import bentoml
from bentoml.exceptions import BentoMLException
from rich.console import Console
from rich.table import Table

from export import store
from export.bundle import Bundle


def show(console: Console, table: Table, accuracy: dict[str, float], written: Bundle) -> None:
    """The gate's table, the accuracies, and where the bundle is."""
    console.print(table)
    for side, share in accuracy.items():
        console.print(f"accuracy with {side}: {share:.2%}", soft_wrap=True)
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
        raise argparse.ArgumentTypeError(
            f"{text} has a version; the bundle's hash will be the version, give a name alone"
        )
    return str(tag.name)
