"""A database behind a guard: refused at once while it is known to be away, and asked again where that is safe."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from carrick.errors import Code, DeadlineError, RejectedError, StoreError
from carrick.guard import Guard
from carrick.store._at_once import at_once
from carrick.store.sync_transaction import SyncTransaction
from carrick.store.transaction import Database, Transaction

__all__ = ["GuardedDatabase"]

T = TypeVar("T")


@runtime_checkable
class _Runs(Protocol):
    """A database that runs plain functions, as SQLite's does."""

    async def run(self, work: Callable[[SyncTransaction], T]) -> T:
        """Run a function in a transaction, and return its result once it is committed."""
        ...


class GuardedDatabase:
    """Lets transactions through a guard to a database, which somebody else opens and closes.

    A transaction that is refused raises ``StoreError`` (``UNAVAILABLE``) before anything was done. Only beginning one
    is tried again: its block is run once. Against the database speaks a ``StoreError`` that says it is not available,
    at the beginning, in the block or at the commit; never an exception of the block's own. Transactions that write and
    those that only read are guarded each by themselves, as the operations ``transaction`` and ``read``.
    """

    def __init__(self, database: Database, guard: Guard) -> None:
        self._database = database
        self._guard = guard

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction that may write."""
        return self._guarded(self._database.transaction, "transaction")

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction that only reads."""
        return self._guarded(self._database.read, "read")

    async def atomically(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Do a transaction's work, at once where the database can do that."""
        if isinstance(self._database, _Runs):
            return await self.run(lambda tx: at_once(work(tx.awaited)))
        async with self.transaction() as tx:
            return await work(tx)

    async def run(self, work: Callable[[SyncTransaction], T]) -> T:
        """Run a plain function in a transaction that may write, where the database can do that. It is never run again.

        It counts once, as a ``transaction``.
        """
        database = self._database
        if not isinstance(database, _Runs):
            raise TypeError(
                f"a {type(database).__name__} does not run functions; use `async with db.transaction() as tx`"
            )
        asked = False

        async def ask() -> T:
            nonlocal asked
            asked = True
            return await database.run(work)

        try:
            return await self._guard.call(ask, operation="transaction", failed=_not_available)
        except (RejectedError, DeadlineError) as error:
            if asked:  # the function's own
                raise
            raise StoreError(error.code, error.message, attempt=error.attempt) from error

    @asynccontextmanager
    async def _guarded(
        self, begin: Callable[[], AbstractAsyncContextManager[Transaction]], operation: str
    ) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as held:
            try:
                tx = await held.enter_async_context(self._guard.hold(begin, operation=operation, failed=_not_available))
            except (RejectedError, DeadlineError) as error:  # the guard's words, in those of a database
                raise StoreError(error.code, error.message, attempt=error.attempt) from error
            yield tx


def _not_available(error: BaseException) -> bool:
    """INTERNAL is how the store says that it was used wrongly, ABORTED that another transaction was in the way."""
    return isinstance(error, StoreError) and error.code not in (Code.INTERNAL, Code.ABORTED)
