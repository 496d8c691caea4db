"""The types of what an event can be written in. Drivers are named for type checkers, and imported by none but them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from carrick.store.dialect import Dialect
from carrick.store.transaction import Parameters, Transaction

if TYPE_CHECKING:
    import sqlite3

    import aiosqlite
    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

__all__ = ["AnyTransaction", "AnyTransactionSync", "AsyncpgConnection", "SyncTransactionLike"]


class SyncTransactionLike(Protocol):
    """A ``SyncTransaction``, or what else is under way as long as anybody can use it."""

    @property
    def dialect(self) -> Dialect:
        """Whose SQL it understands."""
        ...

    def execute(self, statement: str, parameters: Parameters, /) -> object:
        """Run a statement with ``:name`` parameters."""
        ...

    def after_commit(self, action: Callable[[], None], /) -> None:
        """Call ``action`` once the transaction is committed."""
        ...


class AsyncpgConnection(Protocol):
    """asyncpg's Connection, or one of its pool: asyncpg has no types of its own."""

    def is_in_transaction(self) -> bool:
        """Say whether a transaction is under way."""
        ...

    def get_reset_query(self) -> str:
        """Return what a pool runs when a connection comes back."""
        ...


if TYPE_CHECKING:
    AnyTransaction: TypeAlias = (
        Transaction
        | AsyncConnection
        | AsyncSession
        | AsyncpgConnection
        | psycopg.AsyncConnection[Any]
        | aiosqlite.Connection
    )
    AnyTransactionSync: TypeAlias = (
        SyncTransactionLike | Connection | Session | psycopg.Connection[Any] | sqlite3.Connection
    )
else:
    AnyTransaction = Any
    AnyTransactionSync = Any
