"""Writing on aiosqlite's connections."""

import sqlite3
from collections.abc import Callable

import aiosqlite

from carrick.store.dialect import Dialect
from carrick.store.drivers.sqlite3 import NOT_BEGUN
from carrick.store.transaction import Parameters

__all__ = ["AiosqliteWriter"]


class AiosqliteWriter:
    """A connection of sqlite3's in a thread of its own, with the same rules."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    def refusal(self) -> str | None:
        """See ``Writer``."""
        try:
            begun = self._connection.in_transaction
        except (ValueError, sqlite3.ProgrammingError):
            return "this connection of aiosqlite is not open"
        return None if begun else f'{NOT_BEGUN}await connection.execute("BEGIN IMMEDIATE")'

    async def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``Writer``."""
        await self._connection.execute(statement, dict(parameters))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do nothing: aiosqlite does not tell of commits."""
