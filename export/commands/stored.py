"""python -m export list | show TAG | diff TAG TAG | use TAG: the versions in the BentoML model store."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from export import bundle, store, tables, versions
from export.bundle import Bundle
from export.commands import results
from export.versions import UnknownTagError, Version

WIDE = 160


def main(words: Sequence[str]) -> int:
    """Parse and run one of the commands. Returns the exit status."""
    options = _parser().parse_args(words)
    # A pipe or a file has no edge at which lines must be folded.
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    return results.status(lambda: options.run(options, console), UnknownTagError)


def _list(_: argparse.Namespace, console: Console) -> None:
    found = versions.stored()
    if not found:
        console.print("the store is empty: python -m export CHECKPOINT --out DIR --store puts a model into it")
        return
    console.print(tables.listing(found))


def _show(options: argparse.Namespace, console: Console) -> None:
    found = versions.find(options.tag)
    console.print(tables.essentials(found, _whole(found)))


def _diff(options: argparse.Namespace, console: Console) -> None:
    one, other = (versions.find(tag) for tag in (options.one, options.other))
    console.print(tables.comparison((one.tag, _whole(one)), (other.tag, _whole(other))))


def _use(options: argparse.Namespace, _: Console) -> None:
    chosen = versions.find(options.tag)
    name = chosen.tag.partition(":")[0]
    before = versions.find(name).tag
    store.use(chosen.tag)
    loads = "`bentoml serve`" if name == store.NAME else f"`bentoml serve` with ALEXNET_MODEL={name}"
    print(f"{chosen.tag} is the latest now: {loads} loads it")
    if before != chosen.tag:
        print(f"to put the one before back: python -m export use {before}")


def _whole(version: Version) -> Bundle:
    """The version's bundle, every file of it verified. Raises BundleError."""
    return bundle.read(store.place(version.tag))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export")
    commands = parser.add_subparsers(required=True)
    tag = "NAME:VERSION; the first digits of VERSION are enough, and NAME alone is its latest"
    commands.add_parser("list", help="every version").set_defaults(run=_list)
    show = commands.add_parser("show", help="what one version is")
    show.add_argument("tag", metavar="TAG", help=tag)
    show.set_defaults(run=_show)
    diff = commands.add_parser("diff", help="how two versions differ")
    diff.add_argument("one", metavar="TAG", help=tag)
    diff.add_argument("other", metavar="TAG")
    diff.set_defaults(run=_diff)
    use = commands.add_parser("use", help="make a version the latest, which a plain `bentoml serve` loads")
    use.add_argument("tag", metavar="TAG", help=tag)
    use.set_defaults(run=_use)
    return parser
