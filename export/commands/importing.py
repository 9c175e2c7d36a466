"""python -m export import MODEL.onnx --classes FILE --mean .. --std .. --out DIR: someone else's classifier."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from export import foreign, imported, manifest
from export.commands import results
from export.commands.options import add_options
from export.foreign import ForeignError
from export.verdicts import ParityError
from export.wrapping import Normalisation
from training.data import sources
from training.data.dataset import DataError


def main(words: Sequence[str]) -> int:
    """Parse, import, print the gate's table. Returns the exit status: 1 where nothing was written."""
    options = _parser().parse_args(words)
    return results.status(lambda: _import(options, Console()), ForeignError, DataError, ParityError)


def read_classes(path: Path) -> list[str]:
    """The names in a text file, one a line, in the order of the model's outputs. Raises ValueError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    seen: dict[str, int] = {}
    for number, name in enumerate((line.strip() for line in lines), start=1):
        if not manifest.is_name(name):
            raise ValueError(f"{path}, line {number}: a class needs a name of 1 to {manifest.LONGEST_NAME} characters")
        if name in seen:
            raise ValueError(
                f"{path}, lines {seen[name]} and {number} are both {name!r}; give each class a name of its own"
            )
        seen[name] = number
    if len(seen) < 2:
        raise ValueError(f"{path} names {len(seen)} classes; a classifier has two or more")
    return list(seen)


def _import(options: argparse.Namespace, console: Console) -> None:
    normalisation, classes = _normalisation(options.mean, options.std), read_classes(options.classes)
    name = options.name or options.model.stem
    if not manifest.is_name(name):
        raise ValueError(f"--name must be one line of 1 to {manifest.LONGEST_NAME} characters")
    source = foreign.read(options.model, channels=len(normalisation.mean), size=options.size)
    measured = None
    if options.data_dir is not None:
        measured = imported.labelled_pictures(options.data, options.data_dir, classes, source.size)
    try:
        written, report = imported.import_model(
            source, classes, normalisation, options.out, measured, name=name, note=options.note, shown=True
        )
    except ParityError as error:
        results.report(console, error.report)
        raise
    results.show(console, report, written)
    if report.accuracy is None:
        console.print("accuracy: not known, as there were no labelled pictures (--data-dir)", soft_wrap=True)
    if options.store:
        results.keep(console, written, options.store)


def _normalisation(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise ValueError("--mean and --std need one number for each channel: three for colour, one for grey")
    if not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
        raise ValueError(
            "--mean must be in 0..1, and --std above 0 and at most 1: they are on the scale 0..1, as torchvision "
            "documents them; divide by 255 what is on the scale 0..255"
        )
    return Normalisation(tuple(mean), tuple(std))


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export import",
        description="Wrap an ONNX classifier of NCHW pictures, exported elsewhere, into a bundle to serve.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="float32 [N, C, S, S] to [N, K]")
    parser.add_argument(
        "--classes", type=Path, required=True, metavar="FILE", help="names of the K classes, one a line"
    )
    scale = "of each channel on the scale 0..1, e.g."
    parser.add_argument("--mean", type=_numbers, required=True, metavar="R,G,B", help=f"{scale} 0.485,0.456,0.406")
    parser.add_argument("--std", type=_numbers, required=True, metavar="R,G,B", help=f"{scale} 0.229,0.224,0.225")
    parser.add_argument("--size", type=int, metavar="S", help="side of a picture, where the model takes any")
    add_options(parser)
    parser.add_argument("--name", help="the model's name (default: that of the file)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="measure accuracy on the test pictures found here")
    parser.add_argument("--data", default="folder", choices=sources.KINDS, help="what --data-dir holds")
    return parser
