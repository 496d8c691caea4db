"""Writing on asyncpg's connections, those of a pool included."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from asyncpg import InterfaceError

from carrick.store._parameters import numbered
from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters

__all__ = ["AsyncpgWriter"]

_numbered = lru_cache(maxsize=64)(numbered)


class AsyncpgWriter:
    """asyncpg commits each statement by itself, save inside of ``connection.transaction()``."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def refusal(self) -> str | None:
        """See ``Writer``."""
        try:
            if self._connection.is_closed():
                return "this connection of asyncpg is closed"
            if self._connection.is_in_transaction():
                return None
        except InterfaceError:
            return "this connection of asyncpg was given back to its pool"
        return (
            "asyncpg commits each statement by itself here; write the event and its cause inside of "
            "`async with connection.transaction():`"
        )

    async def execute(self, statement: str, parameters: Parameters) -> None:
        """See ``Writer``."""
        sql, names = _numbered(statement)
        await self._connection.execute(sql, *(parameters[name] for name in names))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do nothing: asyncpg does not tell of commits."""
