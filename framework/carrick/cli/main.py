"""Commands: thin, each hands its arguments to what does the work."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

import carrick
from carrick.cli.generate import Compiler, ContractError, Generation, choose_template
from carrick.cli.generate.runtime_protos import proto_path as runtime_proto_path
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
    typer.echo(str(runtime_proto_path()))


@_cli.command()
def generate(
    template: Annotated[
        Path | None,
        typer.Option(help="A buf.gen.yaml of version v2; buf.gen.yaml here unless told."),
    ] = None,
    proto: Annotated[
        str | None, typer.Option(help="Where the contracts are, if there is no buf.gen.yaml; proto unless told.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Where the code goes, if there is no buf.gen.yaml; this folder unless told.")
    ] = None,
    compiler: Annotated[
        Compiler | None, typer.Option("--with", help="What compiles; buf where it is, else protoc.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; show what is out of date and end with status 1.")
    ] = False,
    relative_imports: Annotated[
        bool, typer.Option("--relative-imports", help="Let the generated files work below any package.")
    ] = False,
    allow_carrick: Annotated[
        bool, typer.Option("--allow-carrick", help="Generate the package carrick too: for the framework's own build.")
    ] = False,
) -> None:
    """Generate code from contracts, and write what changed.

    carrick/v1/options.proto is found by itself. Files generated earlier that
    no contract gives any more are removed. The list of them, buf.gen.sum,
    belongs into version control.

    Exit status: 0 when all is well, 1 when a contract is wrong or --check finds
    a difference, 2 when something is missing or buf.gen.yaml is wrong.

    Examples:
      As buf.gen.yaml says, or from proto/ into this folder:
        carrick generate
      In CI, to see that the committed code is up to date:
        carrick generate --check
      Without a buf.gen.yaml, for a folder that is a package's part:
        carrick generate --proto api --out shop/gen --relative-imports

    """
    generation = Generation(
        template=choose_template(template, proto, out),
        compiler=compiler,
        relative_imports=relative_imports,
        allow_carrick=allow_carrick,
    )
    try:
        if not check:
            generation.write(typer.echo)
        elif not generation.check(typer.echo):
            typer.echo("generated code is out of date; run the same command without --check")
            raise typer.Exit(1)
        else:
            typer.echo("generated code is up to date")
    except ContractError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: {error.strerror}; see to it that it can be read or written"
        ) from error


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
