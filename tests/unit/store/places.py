"""Where a test's database is: a file of SQLite, or a database of its own on the session's PostgreSQL."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from carrick import store
from carrick.store import Dialect, Migrations
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase

__all__ = ["AnyDatabase", "Place"]

AnyDatabase: TypeAlias = SqliteDatabase | PostgresDatabase


class Place:
    """One place, for as many databases as there are processes in the test's story."""

    def __init__(self, where: Path | str) -> None:
        self._where = where

    @property
    def dialect(self) -> Dialect:
        """Whose SQL is understood there."""
        return "sqlite" if isinstance(self._where, Path) else "postgresql"

    def database(self, *, migrations: Sequence[Migrations] = (store.MIGRATIONS,)) -> AnyDatabase:
        """Return a database there, to be opened."""
        if isinstance(self._where, Path):
            return SqliteDatabase(self._where, migrations=migrations)
        return PostgresDatabase(self._where, migrations=migrations)
