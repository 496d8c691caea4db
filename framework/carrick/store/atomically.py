"""A transaction's work as one function, so that a database may do all of it at once."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

from carrick.store.transaction import Database, Transaction

__all__ = ["Atomic", "atomically"]

T = TypeVar("T")


@runtime_checkable
class Atomic(Protocol):
    """A database that does a transaction's work at once, as SQLite's does: in one hop to its thread."""

    async def atomically(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Do the work in a transaction that may write; return its result once it is committed."""
        ...


async def atomically(database: Database, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` in a transaction that may write, and return its result once that is committed.

    ``work`` awaits its transaction, and nothing else.
    """
    if isinstance(database, Atomic):
        return await database.atomically(work)
    async with database.transaction() as tx:
        return await work(tx)
