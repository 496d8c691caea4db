"""Where commands are told of their database, and what they open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carrick.errors import ConfigurationError
from carrick.store.transaction import Database
from carrick.store.urls import database_at, sqlite_path

__all__ = ["VARIABLES", "existing_database"]

VARIABLES = ("CARRICK_DATABASE_URL", "CARRICK_DATABASE")


@asynccontextmanager
async def existing_database(url: str) -> AsyncIterator[Database]:
    """Open a database whose schema is somebody else's, and make none."""
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
        yield database
    finally:
        await database.close()
