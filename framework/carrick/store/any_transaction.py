"""The types of what an event can be written in.

Drivers' connections are described by what tells them from others, so that type checkers need only the drivers in use.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters, Result, Transaction

__all__ = ["AnyTransaction", "AnyTransactionSync", "SyncTransactionLike"]


class SyncTransactionLike(Protocol):
    """A ``SyncTransaction``, or what else is under way as long as anybody can use it."""

    @property
    def dialect(self) -> Dialect:
        """Whose SQL it understands."""
        ...

    def execute(self, statement: str, parameters: Parameters, /) -> Result:
        """Run a statement with ``:name`` parameters."""
        ...

    def after_commit(self, action: Callable[[], None], /) -> None:
        """Call ``action`` once the transaction is committed."""
        ...


class _SqlalchemyAsync(Protocol):
    """SQLAlchemy's AsyncConnection and AsyncSession."""

    def in_transaction(self) -> bool: ...
    async def close(self) -> None: ...


class _SqlalchemySync(Protocol):
    """SQLAlchemy's Connection and Session."""

    def in_transaction(self) -> bool: ...
    def close(self) -> None: ...


class _Asyncpg(Protocol):
    """asyncpg's Connection, of a pool too."""

    def is_in_transaction(self) -> bool: ...
    def is_closed(self) -> bool: ...


class _PsycopgAsync(Protocol):
    """psycopg's AsyncConnection."""

    async def set_autocommit(self, value: bool) -> None: ...


class _PsycopgSync(Protocol):
    """psycopg's Connection."""

    def set_autocommit(self, value: bool) -> None: ...


class _Aiosqlite(Protocol):
    """aiosqlite's Connection."""

    @property
    def in_transaction(self) -> bool: ...
    async def close(self) -> None: ...


class _Sqlite3(Protocol):
    """sqlite3's Connection."""

    @property
    def in_transaction(self) -> bool: ...
    def close(self) -> None: ...


AnyTransaction: TypeAlias = Transaction | _SqlalchemyAsync | _Asyncpg | _PsycopgAsync | _Aiosqlite
"""Asynchronous: carrick's, or a connection with a transaction under way."""

AnyTransactionSync: TypeAlias = SyncTransactionLike | _SqlalchemySync | _PsycopgSync | _Sqlite3
"""For code without an event loop: that of ``run()``, or a connection with a transaction under way."""
