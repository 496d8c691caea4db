"""Writing on psycopg 3's connections."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor
from psycopg.pq import TransactionStatus

from carrick.store._parameters import numbered
from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters

__all__ = ["AsyncPsycopgWriter", "PsycopgWriter"]

_numbered = lru_cache(maxsize=64)(numbered)


class _Psycopg:
    dialect: Dialect = "postgresql"
    _with = "with"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def refusal(self) -> str | None:
        """See ``Writer``."""
        if self._connection.closed:
            return "this connection of psycopg is closed"
        if self._connection.info.transaction_status != TransactionStatus.IDLE:
            return None
        block = f"write the event and its cause inside of `{self._with} connection.transaction():`"
        if self._connection.autocommit:
            return f"psycopg commits each statement by itself here (autocommit); {block}"
        return (
            "no transaction is under way: psycopg begins one with the first statement after a commit, and the event "
            f"comes after its cause; {block}"
        )

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do nothing: psycopg does not tell of commits."""


class PsycopgWriter(_Psycopg):
    """psycopg begins a transaction with the first statement, unless it is in autocommit mode."""

    _connection: Connection[Any]

    def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``SyncWriter``."""
        sql, arguments = _raw(statement, parameters)
        with RawCursor(self._connection) as cursor:
            cursor.execute(sql, arguments)


class AsyncPsycopgWriter(_Psycopg):
    """psycopg begins a transaction with the first statement, unless it is in autocommit mode."""

    _connection: AsyncConnection[Any]
    _with = "async with"

    async def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``Writer``."""
        sql, arguments = _raw(statement, parameters)
        async with AsyncRawCursor(self._connection) as cursor:
            await cursor.execute(sql, arguments)


def _raw(statement: str, parameters: Parameters) -> tuple[bytes, list[Any]]:
    sql, names = _numbered(statement)
    return sql.encode(), [parameters[name] for name in names]
