"""Command line: python -m training train | evaluate | summary"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from training import checkpoint, data, device, evaluate, report, summary
from training.checkpoint import CheckpointError
from training.data import DataError
from training.loop import TrainingError, train
from training.networks import NETWORKS
from training.recipes import RECIPES, named_recipe
from training.resume import ResumeError, state_path


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    device.keep_fp32_exact()
    try:
        options.run(options)
    except (TrainingError, DataError, ResumeError, CheckpointError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if state_path(options.out).exists():
            print(f"\nstopped. Finished epochs are safe in {options.out}: the same command with --resume goes on")
        else:
            print("\nstopped before the first epoch was finished: nothing was saved")
        return 130
    return 0


def _train(options: argparse.Namespace) -> None:
    recipe = named_recipe(options.recipe)
    if options.epochs is not None:
        recipe = recipe.with_epochs(options.epochs)
    on = device.choose_device(options.device)
    dataset = data.load(options.data, options.data_dir, size=options.size)
    print(f"{dataset.name}: {len(dataset.train):,} training pictures, {len(dataset.test):,} test pictures, ", end="")
    print(f"{len(dataset.classes)} classes; on {device.describe(on)}", flush=True)
    result = train(
        recipe,
        dataset,
        options.out,
        on=on,
        seed=options.seed,
        limit_train=options.limit_train,
        go_on=options.resume,
    )
    console = _console()
    console.print(report.final_table(result.metadata))
    console.print(f"checkpoint: {result.path}", soft_wrap=True)


def _evaluate(options: argparse.Namespace) -> None:
    source = checkpoint.load(options.checkpoint)
    on = device.choose_device(options.device)
    dataset = data.load(options.data, options.data_dir, size=source.metadata.size)
    classifier = source.build_classifier().to(on)
    found = evaluate.evaluate(classifier, source.metadata, dataset.test.to(on), dataset.classes)
    console = _console()
    for table in (evaluate.class_table(found), evaluate.confusion_table(found)):
        if table is not None:
            console.print(table)


def _console() -> Console:
    """A console that does not squeeze tables where output goes to a file."""
    return Console(width=None if sys.stdout.isatty() else 100)


def _summary(options: argparse.Namespace) -> None:
    names = [options.network, *([options.compare] if options.compare else [])]
    shape = {"classes": options.classes, "channels": options.channels, "size": options.size}
    summaries = [summary.summarise(name, **shape) for name in names]
    console = _console()
    for found in summaries:
        console.print(summary.table(found))
    if options.compare:
        console.print(summary.comparison(*summaries))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a classifier of small pictures.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a network by a named recipe"))
    _add_evaluate(commands.add_parser("evaluate", help="measure a checkpoint on the test pictures of a data set"))
    _add_summary(commands.add_parser("summary", help="layers, sizes, parameters and multiply-adds of a network"))
    return parser


def _add_train(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_train)
    command.add_argument("--recipe", default="alexnet-bn", metavar="NAME", help=f"one of: {', '.join(RECIPES)}")
    _add_data(command)
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of this run, e.g. runs/first")
    command.add_argument("--epochs", type=int, metavar="N", help="in all, shared among the recipe's stages")
    command.add_argument("--limit-train", type=_positive, metavar="N", help="fit to N pictures only")
    command.add_argument("--size", type=_positive, default=32, metavar="N", help="side of a picture (default 32)")
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of split, order, augmentation and weights")
    command.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_evaluate)
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    _add_data(command)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", required=True, choices=sorted(data.LOADERS), help="which pictures")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="where they are, or are downloaded to")
    command.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cuda, mps or cpu")


def _add_summary(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_summary)
    command.add_argument("network", metavar="NETWORK", help=f"one of: {', '.join(NETWORKS)}")
    command.add_argument("--compare", metavar="OTHER", help="another network, and both beside each other")
    command.add_argument("--classes", type=_positive, default=10, metavar="N", help="default 10")
    command.add_argument("--channels", type=_positive, metavar="N", help="default: those of the network's document")
    command.add_argument("--size", type=_positive, metavar="N", help="default: that of the network's document")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 31:
        raise argparse.ArgumentTypeError(f"must be from 0 to {(1 << 31) - 1}, not {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
