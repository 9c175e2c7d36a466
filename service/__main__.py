"""Command line: python -m service serve | check | bento | image"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from export import bundle
from service import engines, launch, settings
from service.model import resolve_tag

SHIPPED = "models/alexnet-cifar10"


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (launch.LaunchError, bundle.BundleError, engines.EngineError, settings.SettingsError, BentoMLException) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    launch.serve(options.model, options.port)


def _check(_: argparse.Namespace) -> None:
    chosen = settings.from_environment(os.environ)
    served = bundle.read(Path(bentoml.models.get(resolve_tag(chosen.model)).path))
    choice = engines.choose(chosen.engine, served, partial(engines.load, variant=chosen.variant))
    for name, reason in choice.passed_over.items():
        print(f"{name}: {reason}")
    print(f"{choice.engine.name}, {choice.engine.variant}: serves {served.name}:{served.version}")


def _bento(options: argparse.Namespace) -> None:
    print(f"Bento: {launch.build_bento(options.model)}")


def _image(options: argparse.Namespace) -> None:
    print(f"image: {launch.build_image(options.model, options.backend)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve or pack a bundle.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", default=SHIPPED, metavar="DIR|TAG", help=f"bundle or stored tag (default {SHIPPED})")
    serve = commands.add_parser("serve", parents=[model], help="verify and store a bundle, then serve it")
    serve.add_argument("--port", type=_port, default=3000, metavar="N", help="default 3000")
    serve.set_defaults(run=_serve)
    check = commands.add_parser("check", help="which engine would serve ALEXNET_MODEL here, and why not another")
    check.set_defaults(run=_check)
    commands.add_parser("bento", parents=[model], help="build a Bento with the model inside").set_defaults(run=_bento)
    image = commands.add_parser("image", parents=[model], help="build a Bento and a container image of it")
    image.add_argument("--backend", default="docker", help="docker (default), podman or buildah")
    image.set_defaults(run=_image)
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, not {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
