"""Commands: thin, each hands its arguments to what does the work."""

import asyncio
import sys
from importlib import resources
from typing import Annotated

import typer

import carrick
from carrick.cli.target import load_app
from carrick.errors import CarrickError, ConfigurationError

__all__ = ["main"]

_cli = typer.Typer(
    help="Carrick: services that call each other and must not lose work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(carrick.__version__)
        raise typer.Exit


@_cli.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@_cli.command()
def run(
    service: Annotated[
        str,
        typer.Argument(
            help="Package with an app module that has a function app(), like services.orders; "
            "or package.module:function."
        ),
    ],
) -> None:
    """Run a service until SIGTERM or Ctrl-C, then let it finish what it began.

    Exit status: 0 after a clean stop, 1 when database or broker could not be had, 2 when a setting is wrong or the
    port is taken.
    """
    sys.path.insert(0, "")  # packages of the folder the command is run in
    asyncio.run(load_app(service).run())


@_cli.command()
def proto_path() -> None:
    """Print the folder to give protoc or buf for `import "carrick/v1/options.proto"`."""
    typer.echo(str(resources.files("carrick") / "_proto"))


def main() -> None:
    """Run the command line; an expected error is one line on standard error."""
    try:
        _cli()
    except ConfigurationError as error:
        _fail(str(error), 2)
    except CarrickError as error:
        _fail(error.message, 1)


def _fail(message: str, status: int) -> None:
    print(f"carrick: {message}", file=sys.stderr)
    sys.exit(status)
