"""The database that a command looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carrick.errors import ConfigurationError
from carrick.outbox.status import require_outbox
from carrick.store.transaction import Database
from carrick.store.urls import database_at, sqlite_path

__all__ = ["outbox_at"]


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
