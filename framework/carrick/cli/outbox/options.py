"""Options that several commands have, and what they open."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from carrick.cli.databases import VARIABLES
from carrick.errors import ConfigurationError
from carrick.extras import extras_named
from carrick.outbox.status import require_outbox
from carrick.store.transaction import Database
from carrick.store.urls import FORMS, database_at, sqlite_path

if TYPE_CHECKING:
    from carrick.messaging.nats import NatsBroker

__all__ = ["AsJson", "DatabaseUrl", "NatsUrl", "broker_at", "outbox_at", "quiet"]

_PATIENCE = 5.0

DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar=list(VARIABLES),
        help=f"The service's database: {FORMS}. A password is better given by the variable.",
    ),
]
NatsUrl = Annotated[
    str,
    typer.Option("--nats", metavar="URL", envvar="CARRICK_NATS_URL", help="The broker, like nats://127.0.0.1:4222."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@asynccontextmanager
async def outbox_at(url: str) -> AsyncIterator[Database]:
    """Open a database whose schema is somebody else's, and see to it that it has an outbox."""
    path = sqlite_path(url)
    if path is not None and not path.is_file():
        raise ConfigurationError(
            f"there is no file {path}; an absolute path is written sqlite:/… or sqlite:////…"
            if not path.is_absolute()
            else f"there is no file {path}"
        )
    database = database_at(url)
    await database.connect()
    try:
        async with database.read() as tx:
            await require_outbox(tx)
        yield database
    finally:
        await database.close()


def broker_at(url: str, *, name: str, startup_timeout: float = _PATIENCE) -> "NatsBroker":
    """Return the broker at a URL, to be opened."""
    with extras_named("carrick outbox"):
        from carrick.messaging.nats import NatsBroker

        return NatsBroker(url, name=name, startup_timeout=startup_timeout)


def quiet() -> None:
    """Let commands that end soon say what they have to say by themselves."""
    logging.getLogger("carrick").setLevel(logging.ERROR)
