"""Databases by their URLs: the one setting that says where a service's is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carrick.errors import ConfigurationError
from carrick.extras import extras_named
from carrick.store.migrations import Migrations

if TYPE_CHECKING:
    from carrick.store.postgres import Isolation, PostgresDatabase
    from carrick.store.sqlite import SqliteDatabase

__all__ = ["FORMS", "database_at", "sqlite_path"]

FORMS = "sqlite:///orders.db, sqlite:////var/lib/orders.db, a path, or postgresql://user:password@host:5432/database"
_SERVERS = ("postgresql://", "postgres://")


def database_at(
    url: str,
    *,
    migrations: Sequence[Migrations] = (),
    schema: str | None = None,
    isolation: "Isolation" = "read committed",
    startup_timeout: float = 30.0,
) -> "SqliteDatabase | PostgresDatabase":
    """Return the database at a URL, to be opened: one of ``FORMS``, or ``sqlite:orders.db``.

    Three slashes begin a relative path and four an absolute one, as in SQLAlchemy. ``schema`` is a service's own in
    PostgreSQL; where nothing is to be made, ``?search_path=orders`` behind the URL does as well. ``isolation`` is
    that of :class:`PostgresDatabase`; SQLite, where one transaction writes at a time, needs none. The rest is as those
    classes have it unless told; construct one where you need more.

    Raises ``ConfigurationError``, which names an extra that is not installed, and never shows the URL of a server:
    there may be a password in it.
    """
    with extras_named("that database"):
        path = sqlite_path(url)
        if path is None:
            from carrick.store.postgres import PostgresDatabase

            return PostgresDatabase(
                url, migrations=migrations, schema=schema, isolation=isolation, startup_timeout=startup_timeout
            )
        if schema is not None:
            raise ConfigurationError("a schema is for PostgreSQL; in SQLite there are none")
        from carrick.store.sqlite import SqliteDatabase

        return SqliteDatabase(path, migrations=migrations, startup_timeout=startup_timeout)


def sqlite_path(url: str) -> Path | None:
    """Return the file that a URL names, or None for a server's. Raises ``ConfigurationError`` for anything else."""
    if url.startswith(_SERVERS):
        return None
    scheme, colon, rest = url.partition(":")
    path = rest.removeprefix("///") if rest.startswith("//") else rest
    if not colon:
        scheme, path = "sqlite", url
    if scheme != "sqlite" or not path or path.startswith("//") or path == ":memory:" or "?" in path:
        raise ConfigurationError(f"give the database as {FORMS}")
    return Path(path)
