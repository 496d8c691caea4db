"""Commands: thin, each hands its arguments to what does the work."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import carrick
from carrick.cli.consumer import consumer_commands
from carrick.cli.db import db
from carrick.cli.dlq import dlq_commands
from carrick.cli.generate import Compiler, ContractError, Generation, choose_template
from carrick.cli.generate.runtime_protos import proto_path as runtime_proto_path
from carrick.cli.new import check_name, make_project
from carrick.cli.outbox import outbox_commands
from carrick.cli.target import load_app
from carrick.errors import CarrickError, ConfigurationError

__all__ = ["main"]

_cli = typer.Typer(
    help="Carrick: services that call each other and must not lose work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_cli.add_typer(db, name="db")
_cli.add_typer(outbox_commands, name="outbox")
_cli.add_typer(dlq_commands, name="dlq")
_cli.add_typer(consumer_commands, name="consumer")


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

    Its settings are environment variables: CARRICK_HOST, CARRICK_PORT,
    CARRICK_DATABASE, CARRICK_NATS_URL, CARRICK_STARTUP_TIMEOUT, CARRICK_GRACE,
    CARRICK_LOG_LEVEL and CARRICK_LOG_FORM, unless it has settings of its own.

    Exit status: 0 after a clean stop, 1 when database or broker could not be
    had, 2 when a setting is wrong or the port is taken.
    """
    sys.path.insert(0, "")  # packages of the folder the command is run in
    asyncio.run(load_app(service).run())


@_cli.command()
def proto_path() -> None:
    """Print the folder to give protoc or buf for `import "carrick/v1/options.proto"`."""
    typer.echo(str(runtime_proto_path()))


@_cli.command()
def new(
    name: Annotated[str, typer.Argument(help="What the service is called: its folder, package and contract.")],
) -> None:
    """Begin a service: a folder with a contract, handlers, a test and all that is needed to run it.

    Its test passes and it serves calls as it is. Nothing that is there is
    overwritten. For example: carrick new order-desk
    """
    with _files_in_a_sentence():
        folder = make_project(check_name(name), Path())
    typer.echo(f"made {folder}; now: cd {folder} && python -m pytest")


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
    with _files_in_a_sentence():
        generation = Generation(
            template=choose_template(template, proto, out),
            compiler=compiler,
            relative_imports=relative_imports,
            allow_carrick=allow_carrick,
        )
        if not check:
            generation.write(typer.echo)
            return
        up_to_date = generation.check(typer.echo)
    state = "up to date" if up_to_date else "out of date; run the same command without --check"
    typer.echo(f"generated code is {state}")
    raise typer.Exit(0 if up_to_date else 1)


@contextmanager
def _files_in_a_sentence() -> Iterator[None]:
    """Say in one sentence which file or folder could not be read or written."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename2 or error.filename}: {error.strerror}; see to it that it can be read or written"
        ) from error


def main() -> None:
    """Run the command line; an expected error is one line on standard error."""
    try:
        _cli()
    except ConfigurationError as error:
        _fail(str(error), 2)
    except ContractError as error:  # a compiler's own words, with file and line
        print(error.message, file=sys.stderr)
        sys.exit(1)
    except CarrickError as error:
        _fail(error.message, 1)


def _fail(message: str, status: int) -> None:
    print(f"carrick: {message}", file=sys.stderr)
    sys.exit(status)
