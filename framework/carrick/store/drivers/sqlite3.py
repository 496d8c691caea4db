"""Writing on the standard library's SQLite connections."""

import sqlite3
from collections.abc import Callable

from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters

__all__ = ["NOT_BEGUN", "Sqlite3Writer"]

NOT_BEGUN = (
    "no transaction is under way: with the default isolation_level the driver begins one with the first INSERT, UPDATE "
    "or DELETE, with isolation_level=None or autocommit=True never; begin it yourself, with "
)


class Sqlite3Writer:
    """The connection itself knows whether a transaction is under way, whoever began it."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def refusal(self) -> str | None:
        """See ``SyncWriter``."""
        try:
            begun = self._connection.in_transaction
        except sqlite3.ProgrammingError:
            return "this connection of sqlite3 is closed"
        return None if begun else f'{NOT_BEGUN}connection.execute("BEGIN IMMEDIATE")'

    def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``SyncWriter``."""
        self._connection.execute(statement, dict(parameters))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do nothing: sqlite3 does not tell of commits."""
