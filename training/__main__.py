"""Command line: python -m training train | ladder | recipes | evaluate | robustness | summary"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from training import checkpoint, device, distributed, evaluate, robustness, summary
from training.checkpoint import Checkpoint, CheckpointError
from training.data import sources
from training.data.dataset import DataError, Dataset
from training.epoch import TrainingError
from training.files import write_atomically
from training.ladders import ladder, measured, page
from training.loop import Extras, train
from training.options import parse
from training.recipe import RecipeError
from training.recipes import named_recipe
from training.reports import findings, progress
from training.resume import ResumeError, state_path


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parse(words)
    device.keep_fp32_exact()
    device.prefer_repeatable()
    try:
        COMMANDS[options.command](options)
    except (TrainingError, DataError, ResumeError, CheckpointError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if distributed.is_first():
            print(f"\nstopped. {_what_is_left(options)}")
        return 130
    return 0


def _what_is_left(options: argparse.Namespace) -> str:
    """What a user who pressed Ctrl-C has now."""
    if options.command == "train" and not state_path(options.out).exists():
        return "The first epoch was not finished: nothing was saved"
    if options.command in ("train", "ladder"):
        return f"Finished epochs are safe in {options.out}: the same command with --resume goes on"
    return "Nothing was changed"


def _train(options: argparse.Namespace) -> None:
    recipe = named_recipe(options.recipe).changed(_changes(options))
    if options.epochs is not None:
        recipe = recipe.with_epochs(options.epochs)
    starts = tuple(map(checkpoint.load, options.init))
    teachers = tuple(map(checkpoint.load, options.teacher))
    _refuse_file(options.out)
    with distributed.joined(device.choose_device(options.device)) as (processes, on):
        with processes.first_goes_ahead():
            dataset = _load(options, options.size or ladder.picture_size(recipe), quiet=not processes.is_first)
        if processes.is_first:
            place = device.describe(on, exact=recipe.precision == "fp32")
            print(f"{dataset.name}: {len(dataset.train):,} training pictures, {len(dataset.test):,} test ", end="")
            print(f"pictures, {len(dataset.classes)} classes; on {place}", flush=True)
        extras = Extras(
            starts=starts,
            teachers=teachers,
            processes=processes,
            compiled=options.compile,
            profiled=options.profile,
        )
        result = train(recipe, dataset, options.out, on=on, seed=options.seed, go_on=options.resume, extras=extras)
        if processes.is_first:
            console = _console()
            console.print(progress.final_table(result.metadata))
            console.print(f"checkpoint: {result.path}", soft_wrap=True)


def _ladder(options: argparse.Namespace) -> None:
    chosen = ladder.named_ladder(options.ladder)
    if options.rungs:
        chosen = chosen.select(options.rungs)
    chosen = chosen.changed(_changes(options))
    if options.epochs is not None:
        chosen = chosen.with_epochs(options.epochs)
    _refuse_file(options.out)
    result_file = options.out / f"{options.out.resolve().name}.json"
    with distributed.joined(device.choose_device(options.device)) as (processes, on):
        load = lru_cache(maxsize=1)(partial(_load, options, quiet=not processes.is_first))
        result = ladder.climb(
            chosen,
            load,
            options.out,
            result_file,
            on=on,
            command=["python", "-m", "training", *(word for word in options.words if word != "--resume")],
            seed=options.seed,
            go_on=options.resume,
            processes=processes,
        )
        if processes.is_first:
            text = page.table(result)
            write_atomically(result_file.with_suffix(".md"), text.encode())
            write_atomically(result_file.with_suffix(".png"), page.picture(result))
            print(text)
            print(f"table, picture and raw figures: {result_file.with_suffix('')}.md, .png, .json")


def _refuse_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file: --out needs a folder, which is made where it is missing")


def _load(options: argparse.Namespace, size: int, *, quiet: bool = False) -> Dataset:
    dataset = sources.load(options.data, options.data_dir, size=size, skip_corrupt=options.skip_corrupt)
    if not quiet:
        _print_notes(dataset)
    return dataset


def _print_notes(dataset: Dataset) -> None:
    for note in dataset.notes:
        print(f"note: {note}", file=sys.stderr)


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


def _robustness(options: argparse.Namespace) -> None:
    source = checkpoint.load(options.checkpoint)
    robustness.require_own(options.checkpoint, source)
    dataset = _load(options, source.metadata.size)
    figures = robustness.measure(source, dataset, _load_others(options, source), device.choose_device(options.device))
    metadata = robustness.record(options.checkpoint, source, figures)
    console = _console()
    for table in findings.tables(metadata):
        console.print(table)
    if metadata.energy_threshold is None:
        print("note: this checkpoint has no energy threshold: it knows nothing of the unknown", file=sys.stderr)
    console.print(f"kept in {options.checkpoint}", soft_wrap=True)


def _load_others(options: argparse.Namespace, source: Checkpoint) -> Dataset | None:
    if options.others is None:
        return None
    if options.others_dir is None and options.others != "synthetic":
        raise DataError(f"--others {options.others} needs --others-dir DIR")
    size = source.metadata.size
    others = sources.load(options.others, options.others_dir, size=size, skip_corrupt=options.skip_corrupt)
    _print_notes(others)
    return others


def _console(width: int = 100) -> Console:
    """A console that leaves brackets in names alone, and does not squeeze tables where output goes to a file."""
    return Console(width=None if sys.stdout.isatty() else width, markup=False)


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


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "ladder": _ladder,
    "recipes": _recipes,
    "evaluate": _evaluate,
    "robustness": _robustness,
    "summary": _summary,
}


if __name__ == "__main__":
    sys.exit(main())
