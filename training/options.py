"""The command line's options: python -m training COMMAND ..."""

import argparse
from pathlib import Path

from training.data.sources import KINDS
from training.ladders.ladder import LADDERS
from training.networks import NETWORKS
from training.recipes import RECIPES


def parse(words: list[str]) -> argparse.Namespace:
    """The options in `words`; `words` themselves and the command's name are among them. Exits where they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a classifier of small pictures.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_train(commands.add_parser("train", help="train a network by a named recipe"))
    _add_ladder(commands.add_parser("ladder", help="train the rungs of a ladder, into one table and picture"))
    commands.add_parser("recipes", help="every recipe with its document's figure and ours")
    _add_evaluate(commands.add_parser("evaluate", help="measure a checkpoint on the test pictures of a data set"))
    _add_robustness(commands.add_parser("robustness", help="measure a checkpoint on changed and on unknown pictures"))
    _add_summary(commands.add_parser("summary", help="layers, sizes, parameters and multiply-adds of a network"))
    return parser.parse_args(words, argparse.Namespace(words=words))


def _add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default="alexnet-bn", metavar="NAME", help=f"one of: {', '.join(RECIPES)}")
    _add_data(command)
    _add_run(command)
    command.add_argument("--size", type=_positive, metavar="N", help="side of a picture (default: the document's)")
    command.add_argument(
        "--init", type=Path, nargs="+", default=[], metavar="CHECKPOINT", help="begin with these weights, or their mean"
    )
    command.add_argument(
        "--teacher", type=Path, nargs="+", default=[], metavar="CHECKPOINT", help="learn from these too"
    )
    command.add_argument("--compile", action="store_true", help="compile the network (torch.compile); worth it on CUDA")
    command.add_argument("--profile", action="store_true", help="leave a profiler trace of ten steps in --out")


def _add_ladder(command: argparse.ArgumentParser) -> None:
    command.add_argument("ladder", metavar="LADDER", help=f"one of: {', '.join(LADDERS)}")
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
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="runs/NAME/checkpoint.safetensors")
    _add_data(command)


def _add_robustness(command: argparse.ArgumentParser) -> None:
    _add_evaluate(command)
    command.add_argument("--others", choices=KINDS, help="pictures of no class that the checkpoint knows")
    command.add_argument("--others-dir", type=Path, metavar="DIR", help="where they are, or are downloaded to")


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", required=True, choices=KINDS, help="which pictures")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="where they are, or are downloaded to")
    command.add_argument("--skip-corrupt", action="store_true", help="leave unreadable pictures out, and say how many")
    command.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cuda, mps or cpu")


def _add_summary(command: argparse.ArgumentParser) -> None:
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
