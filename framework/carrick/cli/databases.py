"""Databases by their URLs, as commands take them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carrick.errors import ConfigurationError
from carrick.store.migrations import Migrations

if TYPE_CHECKING:
    from carrick.store.postgres import PostgresDatabase
    from carrick.store.sqlite import SqliteDatabase

__all__ = ["FORMS", "VARIABLE", "database_from", "sqlite_path"]

FORMS = "sqlite:orders.db, sqlite:/var/lib/orders.db or postgresql://user:password@host:5432/database"
VARIABLE = "CARRICK_DATABASE_URL"
_EXTRAS = {"aiosqlite": "sqlite", "sqlalchemy": "sqlite", "asyncpg": "postgres"}


def database_from(
    url: str, *, migrations: Sequence[Migrations] = (), startup_timeout: float = 30.0
) -> "SqliteDatabase | PostgresDatabase":
    """Return the database at a URL, to be opened: one of ``FORMS``, or ``sqlite:///orders.db`` as SQLAlchemy has it.

    Three slashes begin a relative path, four an absolute one. Raises ``ConfigurationError``, which never shows the URL
    of a server: there may be a password in it.
    """
    scheme = url.partition(":")[0]
    try:
        if scheme == "sqlite":
            from carrick.store.sqlite import SqliteDatabase

            return SqliteDatabase(sqlite_path(url), migrations=migrations, startup_timeout=startup_timeout)
        if scheme in ("postgresql", "postgres"):
            from carrick.store.postgres import PostgresDatabase

            return PostgresDatabase(url, migrations=migrations, startup_timeout=startup_timeout)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigurationError(
            f'that database needs {error.name}, which is not installed; run: pip install "carrick[{extra}]"'
        ) from error
    raise ConfigurationError(f"give the database as {FORMS}")


def sqlite_path(url: str) -> Path:
    """Return the path in ``sqlite:path`` or ``sqlite:///path``."""
    path = url.removeprefix("sqlite:")
    if path.startswith("//"):
        if not path.startswith("///"):
            raise ConfigurationError("write sqlite:orders.db, or sqlite:///orders.db: there is no host in a file's URL")
        path = path[3:]
    if not path or path == ":memory:" or "?" in path:
        raise ConfigurationError("write the path of a SQLite file, without anything behind it, like sqlite:orders.db")
    return Path(path)
