"""What every command that makes a bundle has in common: how it ends, and what it says at its end."""

import sys
from collections.abc import Callable

from bentoml.exceptions import BentoMLException
from rich.console import Console

from export import parity_report, store
from export.bundle import Bundle, BundleError
from export.verdicts import ParityReport


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
