"""``carrick db``: the schema of a database, as the framework's components and a service's own need it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from carrick import outbox, store
from carrick.cli.databases import VARIABLES
from carrick.errors import ConfigurationError
from carrick.store import Migrations
from carrick.store.roles import Level
from carrick.store.roles import roles as roles_of
from carrick.store.schema import Step, steps, unapplied
from carrick.store.urls import FORMS, database_at

if TYPE_CHECKING:
    from carrick.store.postgres import PostgresDatabase
    from carrick.store.sqlite import SqliteDatabase

    AnyDatabase: TypeAlias = "SqliteDatabase | PostgresDatabase"

__all__ = ["db"]

_OWN = (store.MIGRATIONS, outbox.MIGRATIONS)

db = typer.Typer(
    help="Bring a database's schema up to date, see how it is, or have its roles made.", no_args_is_help=True
)

_Url = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar=list(VARIABLES),
        help=f"{FORMS}. A password is better given by the variable.",
    ),
]
_Own = Annotated[
    list[str] | None,
    typer.Option(
        "--migrations",
        metavar="COMPONENT=FOLDER",
        help="A service's own files, under the name that it gives to Migrations(...). May be given more than once.",
    ),
]
_Schema = Annotated[
    str | None, typer.Option("--schema", help="The schema in PostgreSQL; that of the search path unless told.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print an array of JSON objects, one a version.")]


@db.command()
def migrate(
    database: _Url,
    migrations: _Own = None,
    schema: _Schema = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what is due.")] = False,
    as_json: _Json = False,
) -> None:
    """Apply what is due: of carrick.store, of carrick.outbox, and of --migrations.

    Services do this by themselves when they start. Here it is for roles that
    may change the schema where the service's may not, and for services that
    use connections of their own. Any number of processes may do it at once.

    Exit status: 0 when all is applied, 1 when the database can't be had, 2 when
    an applied file was changed or a setting is wrong.

    Examples:
      The framework's tables:
        carrick db migrate --database sqlite:///orders.db
      A service's own too, with the URL in CARRICK_DATABASE:
        carrick db migrate --migrations shop.orders=orders/migrations

    """
    components = (*_OWN, *map(_component, migrations or ()))
    found = asyncio.run(
        _apply(database_at(database, migrations=components, schema=schema), components, dry_run=dry_run)
    )
    _print(found, as_json=as_json, nothing="nothing is due")


@db.command()
def status(database: _Url, migrations: _Own = None, schema: _Schema = None, as_json: _Json = False) -> None:
    """Show the versions of each component, and change none.

    Each is applied, due, changed (its file is not what was applied) or newer
    (applied by a later version of carrick or of the service).

    Exit status: 0, whatever is due; 1 when the database can't be had.
    """
    components = (*_OWN, *map(_component, migrations or ()))
    _print(asyncio.run(_look(database_at(database, migrations=components, schema=schema), components)), as_json=as_json)


@db.command()
def roles(
    service: Annotated[str, typer.Option("--service", help="Its role, schema or database is called so.")],
    level: Annotated[Level, typer.Option("--level", help="What it has to itself.")],
    owner: Annotated[
        str | None,
        typer.Option("--owner", help="A second role, which migrates; the service's then reads and writes rows only."),
    ] = None,
    shared: Annotated[
        str, typer.Option("--shared", help="The schema that services have in common, at the level of tables.")
    ] = "public",
) -> None:
    """Print the SQL that keeps a service's PostgreSQL tables to itself.

    It goes to psql, by an administrator, once for each service. Nothing is
    executed here, and no password is printed or asked for.

    Levels: tables (the service's own in a schema that others use too), schema,
    database (which may be on a server of its own).

    Examples:
      A schema for orders, and a role that migrates it:
        carrick db roles --service orders --level schema --owner orders_owner > orders.sql
        psql -v ON_ERROR_STOP=1 -f orders.sql shop

    """
    typer.echo(roles_of(service, level, owner=owner, shared=shared), nl=False)


def _component(argument: str) -> Migrations:
    name, equals, folder = argument.partition("=")
    if not (name and equals and folder):
        raise ConfigurationError("--migrations is COMPONENT=FOLDER, like shop.orders=orders/migrations")
    return Migrations(name, Path(folder))


async def _look(database: "AnyDatabase", components: Sequence[Migrations]) -> tuple[Step, ...]:
    path = getattr(database, "path", None)
    if isinstance(path, Path) and not path.exists():  # looking would make it
        return unapplied("sqlite", components)
    await database.connect()
    try:
        async with database.read() as tx:
            return await steps(tx, components)
    finally:
        await database.close()


async def _apply(database: "AnyDatabase", components: Sequence[Migrations], *, dry_run: bool) -> Sequence[Step]:
    """Return what was due, as it is now."""
    before = await _look(database, components)
    for step in before:
        if step.state == "changed":
            raise ConfigurationError(
                f"{step.component}: migration {_name(step)} was changed after it was applied; put the change into a "
                "new file"
            )
    due = [step for step in before if step.state == "due"]
    if dry_run or not due:
        return due
    async with database:
        pass
    versions = {(step.component, step.version) for step in due}
    return [step for step in await _look(database, components) if (step.component, step.version) in versions]


def _print(found: Sequence[Step], *, as_json: bool, nothing: str = "") -> None:
    if as_json:
        typer.echo(json.dumps([asdict(step) for step in found], indent=2))
        return
    if not found:
        typer.echo(nothing)
    width = max((len(_name(step)) for step in found), default=0)
    for component, group in groupby(found, key=lambda step: step.component):
        typer.echo(component)
        for step in group:
            typer.echo(f"  {_name(step):{width}}  {step.state} {step.applied_at or ''}".rstrip())


def _name(step: Step) -> str:
    return f"{step.version:04d}_{step.name}"
