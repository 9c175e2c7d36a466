"""Command line: python -m service serve | classify | check | settings | bento | image"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from export import bundle
from service import flavours, launch, serving, settings
from service.cores import plan
from service.engines import choice, loading
from service.engines.engine import EngineError
from service.model import resolve_tag
from service.offline import command

SHIPPED = "models/alexnet-cifar10"
REFUSALS = (launch.LaunchError, bundle.BundleError, EngineError, settings.SettingsError, BentoMLException)


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int | None = options.run(options)
    except (*REFUSALS, *command.REFUSALS) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status or 0


def _serve(options: argparse.Namespace) -> None:
    launch.serve(options.model, options.port)


def _check(options: argparse.Namespace) -> None:
    chosen = settings.from_environment(os.environ)
    served = bundle.read(options.bundle or Path(bentoml.models.get(resolve_tag(chosen.model)).path))
    loader = partial(loading.load, tuning=serving.tuning_of(chosen, plan(chosen)), variant=chosen.variant)
    found = choice.choose(chosen.engine, served, loader)
    for name, reason in found.passed_over.items():
        print(f"{name}: {reason}")
    print(f"{found.engine.name}, {found.engine.variant}: serves {served.name}:{served.version}")


def _settings(_: argparse.Namespace) -> None:
    print(settings.document(), end="")


def _bento(options: argparse.Namespace) -> None:
    print(f"Bento: {launch.build_bento(options.model, options.flavour, _added(options))}")


def _image(options: argparse.Namespace) -> None:
    print(f"image: {launch.build_image(options.model, options.backend, options.flavour, _added(options))}")


def _added(options: argparse.Namespace) -> tuple[str, ...]:
    asked = {"torch": options.fallback == "torch", "openvino": options.openvino == "1"}
    return tuple(extra for extra in flavours.ADDED if asked[extra])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve or pack a bundle.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", default=SHIPPED, metavar="DIR|TAG", help=f"bundle or stored tag (default {SHIPPED})")
    serve = commands.add_parser("serve", parents=[model], help="verify and store a bundle, then serve it")
    serve.add_argument("--port", type=_port, default=3000, metavar="N", help="default 3000")
    serve.set_defaults(run=_serve)
    command.add_to(commands.add_parser("classify", parents=[model], help="classify files, without a server"))
    check = commands.add_parser("check", help="which engine would serve ALEXNET_MODEL here, and why not another")
    check.add_argument("--bundle", type=Path, metavar="DIR", help="check this one and not ALEXNET_MODEL")
    check.set_defaults(run=_check)
    commands.add_parser("settings", help="docs/settings.md: every variable").set_defaults(run=_settings)
    packing = argparse.ArgumentParser(add_help=False, parents=[model])
    packing.add_argument("--flavour", choices=flavours.FLAVOURS, default="gpu", help="for which machines (default gpu)")
    packing.add_argument("--fallback", choices=["torch", ""], default="", help="PyTorch in the CPU's flavour too")
    packing.add_argument("--openvino", choices=["1", ""], default="", help="OpenVINO's plugin, for Intel's processors")
    commands.add_parser("bento", parents=[packing], help="build a Bento with the model inside").set_defaults(run=_bento)
    image = commands.add_parser("image", parents=[packing], help="build a Bento and a container image of it")
    image.add_argument("--backend", choices=launch.BACKENDS, default="docker", help="default docker")
    image.set_defaults(run=_image)
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, not {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
