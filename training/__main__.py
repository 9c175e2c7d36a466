"""Command line: python -m training train | ladder | recipes | evaluate | summary"""

import argparse
import json
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from training import checkpoint, data, device, distributed, evaluate, ladder, ladder_report, measured, report, summary
from training.checkpoint import CheckpointError
from training.dataset import DataError, Dataset
from training.epoch import TrainingError
from training.files import write_atomically
from training.loop import Extras, train
from training.networks import NETWORKS
from training.recipe import RecipeError
from training.recipes import RECIPES, named_recipe
from training.resume import ResumeError, state_path


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(words, argparse.Namespace(words=words, stopped=lambda _: "Nothing was changed"))
    device.keep_fp32_exact()
    try:
        options.run(options)
    except (TrainingError, DataError, ResumeError, CheckpointError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped. {options.stopped(options)}")
        return 130
    return 0


def _stopped_training(options: argparse.Namespace) -> str:
    if state_path(options.out).exists():
        return f"Finished epochs are safe in {options.out}: the same command with --resume goes on"
    return "The first epoch was not finished: nothing was saved"


def _stopped_ladder(options: argparse.Namespace) -> str:
    return f"Finished epochs are safe in {options.out}: the same command with --resume goes on"


def _train(options: argparse.Namespace) -> None:
    recipe = named_recipe(options.recipe)
    if options.epochs is not None:
        recipe = recipe.with_epochs(options.epochs)
    recipe = recipe.changed(_changes(options))
    with distributed.joined(device.choose_device(options.device)) as (processes, on):
        dataset = _load(options, options.size or ladder.picture_size(recipe))
        if processes.is_first:
            print(f"{dataset.name}: {len(dataset.train):,} training pictures, {len(dataset.test):,} test ", end="")
            print(
                f"pictures, {len(dataset.classes)} classes; on {device.describe(on, exact=recipe.precision == 'fp32')}",
                flush=True,
            )
        extras = Extras(
            start=None if options.init is None else checkpoint.load(options.init),
            processes=processes,
            compiled=options.compile,
            profiled=options.profile,
        )
        result = train(recipe, dataset, options.out, on=on, seed=options.seed, go_on=options.resume, extras=extras)
        if processes.is_first:
            console = _console()
            console.print(report.final_table(result.metadata))
            console.print(f"checkpoint: {result.path}", soft_wrap=True)


def _ladder(options: argparse.Namespace) -> None:
    chosen = ladder.named_ladder(options.ladder)
    if options.rungs:
        chosen = chosen.select(options.rungs)
    if options.epochs is not None:
        chosen = chosen.with_epochs(options.epochs)
    chosen = chosen.changed(_changes(options))

    load = lru_cache(maxsize=1)(partial(_load, options))
    result_file = options.out / f"{options.out.name}.json"
    result = ladder.climb(
        chosen,
        load,
        options.out,
        result_file,
        on=device.choose_device(options.device),
        command=["python", "-m", "training", *(word for word in options.words if word != "--resume")],
        seed=options.seed,
        go_on=options.resume,
    )
    page = ladder_report.table(result)
    write_atomically(result_file.with_suffix(".md"), page.encode())
    write_atomically(result_file.with_suffix(".png"), ladder_report.picture(result))
    print(page)
    print(f"table, picture and raw figures: {result_file.with_suffix('')}.md, .png, .json")


def _load(options: argparse.Namespace, size: int) -> Dataset:
    dataset = data.load(options.data, options.data_dir, size=size, skip_corrupt=options.skip_corrupt)
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)
    return dataset


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    """Fields of a recipe that the command line changes."""
    changes: dict[str, Any] = {} if options.limit_train is None else {"train_images": options.limit_train}
    for entry in options.set:
        name, equals, text = entry.partition("=")
        if not equals:
            raise RecipeError(f"--set takes FIELD=VALUE, not {entry!r}")
        try:
            changes[name] = json.loads(text)
        except ValueError:
            changes[name] = text  # a word needs no quotes
    return changes


def _evaluate(options: argparse.Namespace) -> None:
    source = checkpoint.load(options.checkpoint)
    on = device.choose_device(options.device)
    dataset = _load(options, source.metadata.size)
    classifier = source.build_classifier().to(on)
    found = evaluate.evaluate(classifier, source.metadata, dataset.test.to(on), dataset.classes)
    console = _console()
    for table in (evaluate.class_table(found), evaluate.confusion_table(found)):
        if table is not None:
            console.print(table)


def _console(width: int = 100) -> Console:
    """A console that does not squeeze tables where output goes to a file."""
    return Console(width=None if sys.stdout.isatty() else width)


def _recipes(_: argparse.Namespace) -> None:
    _console(140).print(measured.recipe_table())


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
    _add_ladder(commands.add_parser("ladder", help="train the rungs of a ladder, into one table and picture"))
    commands.add_parser("recipes", help="every recipe with its document's figure and ours").set_defaults(run=_recipes)
    _add_evaluate(commands.add_parser("evaluate", help="measure a checkpoint on the test pictures of a data set"))
    _add_summary(commands.add_parser("summary", help="layers, sizes, parameters and multiply-adds of a network"))
    return parser


def _add_train(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_train, stopped=_stopped_training)
    command.add_argument("--recipe", default="alexnet-bn", metavar="NAME", help=f"one of: {', '.join(RECIPES)}")
    _add_data(command)
    _add_run(command)
    command.add_argument("--size", type=_positive, metavar="N", help="side of a picture (default: the document's)")
    command.add_argument("--init", type=Path, metavar="CHECKPOINT", help="begin with the weights of another run")
    command.add_argument("--compile", action="store_true", help="compile the network (torch.compile); worth it on CUDA")
    command.add_argument("--profile", action="store_true", help="leave a profiler trace of ten steps in --out")


def _add_ladder(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_ladder, stopped=_stopped_ladder)
    command.add_argument("ladder", metavar="LADDER", help=f"one of: {', '.join(ladder.LADDERS)}")
    command.add_argument("--rungs", nargs="+", metavar="RUNG", help="only these")
    _add_data(command)
    _add_run(command)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of this run, e.g. runs/first")
    command.add_argument("--epochs", type=int, metavar="N", help="in all, shared among the recipe's stages")
    command.add_argument("--limit-train", type=_positive, metavar="N", help="fit to N pictures only")
    command.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change the recipe, e.g. optimizer=adamw"
    )
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of split, order, augmentation and weights")
    command.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_evaluate)
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    _add_data(command)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", required=True, choices=data.KINDS, help="which pictures")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="where they are, or are downloaded to")
    command.add_argument("--skip-corrupt", action="store_true", help="leave unreadable pictures out, and say how many")
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
