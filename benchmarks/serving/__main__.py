"""Command line: python -m benchmarks.serving [--quick] [--servers ours,...] [--loads 32x1,...] [--resume]"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.serving import ceiling, page, pictures, record, turns
from benchmarks.serving.contenders import CONTENDERS, ROOT, environment
from benchmarks.serving.loads import LOADS, PICTURES
from benchmarks.serving.peers.common import MODEL_VARIABLE, VARIANT_VARIABLE, Classifier
from benchmarks.serving.peers.nothing import ANSWERS_VARIABLE
from benchmarks.serving.processes import ServerError
from export import bundle
from training.files import write_atomically

RESULTS = ROOT / "benchmarks" / "results" / "serving"
# A process of its own, as BentoML reads once where its store is.
STORE = (
    "import sys; from pathlib import Path; from export import bundle, store; "
    "print(store.put(bundle.read(Path(sys.argv[1]))))"
)
QUICK, LOG = ROOT / "build" / "serving.json", ROOT / "build" / "serving.log"
QUICK_LOADS = ("1x1", "8x1", "8x32", "open-2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, write and print the page. Returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.warm_up = 1, 1.0, 0.5
    options.loads = options.loads or list(QUICK_LOADS if options.quick else LOADS)
    if "litserve" in options.servers and find_spec("litserve") is None:
        print(
            "error: LitServe is not installed; install the extra 'bench', or name --servers without it", file=sys.stderr
        )
        return 1
    served = bundle.read(options.model)
    options.variant = options.variant or served.preferred("cpu")
    if options.variant not in served.variants:
        print(
            f"error: {served.name} has no variant {options.variant}; it has: {', '.join(served.variants)}",
            file=sys.stderr,
        )
        return 1
    path = options.out or (QUICK if options.quick else RESULTS / f"{served.name}-{options.variant}.json")
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = ["python", "-m", "benchmarks.serving", *(word for word in given if word != "--resume")]
    settings = {"seconds": options.seconds, "warm_up": options.warm_up}
    try:
        kept = record.Record(
            path, record.head(command, served, options.variant, settings, options.targets), options.resume
        )
        measure(options, served, kept)
    except (record.RecordError, ServerError, turns.TurnError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = page.table(kept.document)
    write_atomically(path.with_suffix(".md"), text.encode())
    write_atomically(path.with_suffix(".png"), page.picture(kept.document))
    print(text)
    return 0


def measure(options: argparse.Namespace, served: bundle.Bundle, kept: record.Record) -> None:
    """All rounds; in each, the servers take turns in an order that moves on, and the ceiling has the last one."""
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        course = _course(options, served, kept, Path(scratch))
        for number in range(options.rounds):
            shift = number % len(options.servers)
            for name in [*options.servers[shift:], *options.servers[:shift]]:
                print(f"round {number + 1} of {options.rounds}: {CONTENDERS[name].title}", file=sys.stderr, flush=True)
                turns.take(name, number, options.loads, course)
            if not kept.has("ceiling", round=number):
                kept.add("ceiling", round=number, images_per_second=ceiling.measure(options.seconds, course.env))


def _course(options: argparse.Namespace, served: bundle.Bundle, kept: record.Record, scratch: Path) -> turns.Course:
    """What the turns share: the bundle in a store of the run's own, the requests, and their answers in a file."""
    home, answers = scratch / "home", scratch / "answers.json"
    directory = str(served.directory.resolve())
    told = {MODEL_VARIABLE: directory, VARIANT_VARIABLE: options.variant}
    os.environ.update(told)
    classifier = Classifier()
    files = pictures.jpegs(served.size, served.channels)
    requests = {count: pictures.requests(files, count, classifier) for count in PICTURES}
    known = {len(some[0].body): classifier.predictions(np.array(some[0].expected)) for some in requests.values()}
    answers.write_text(json.dumps(known))
    env = environment(home, {**told, ANSWERS_VARIABLE: str(answers)})
    stored = subprocess.run(
        [sys.executable, "-c", STORE, directory], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    pace = turns.Pace(options.warm_up, options.seconds)
    return turns.Course(kept, requests, pace, {**env, "ALEXNET_MODEL": stored.stdout.strip()}, LOG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "alexnet-cifar10", help="a bundle's directory")
    parser.add_argument("--variant", choices=list(bundle.FILES), help="of its graph (default: what it prefers on CPUs)")
    parser.add_argument("--out", type=Path, help="JSON file of the result; page and picture are beside it")
    parser.add_argument("--servers", type=_names(CONTENDERS), default=list(CONTENDERS), help="some of them, by commas")
    parser.add_argument("--loads", type=_names(LOADS), help=f"some of: {', '.join(LOADS)}")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (default 5)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before each load (default 1)")
    parser.add_argument("--targets", action=argparse.BooleanOptionalAction, default=True, help="beside the figures")
    parser.add_argument("--resume", action="store_true", help="measure what the result does not have yet")
    parser.add_argument("--quick", action="store_true", help="one short round into build/: whether all of it runs")
    return parser


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    """Names of a table, divided by commas, in its order."""

    def parse(text: str) -> list[str]:
        given = text.split(",")
        if unknown := sorted(set(given) - set(known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
        return [name for name in known if name in given]

    return parse


if __name__ == "__main__":
    sys.exit(main())
