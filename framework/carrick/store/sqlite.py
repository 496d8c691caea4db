"""SQLite, set up so that nothing is lost and nothing is sold twice.

One transaction writes at a time, each begun with ``BEGIN IMMEDIATE``: with the drivers' defaults a SELECT runs before
the transaction begins, and two orders can take the same piece. Others only read, each from a snapshot (WAL). Every
commit is synced to disk before it returns.

Two connections write, in turn: one of SQLAlchemy's, whose driver hops to a thread and back for every statement, and one
on a thread that runs whole functions, many in one transaction.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Executable, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from carrick.cancellation import finish
from carrick.clock import Clock, SystemClock
from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.store._at_once import at_once
from carrick.store._opening import until_opened
from carrick.store.migrations import SCHEMA_TABLE, Migrations, migrate, statements
from carrick.store.sqlite_connection import connect, set_up, store_error
from carrick.store.sqlite_group import GroupOptions
from carrick.store.sqlite_thread import WriterThread
from carrick.store.sqlite_writer import GroupWriter
from carrick.store.sync_transaction import SyncTransaction
from carrick.store.transaction import Parameters, Result, Transaction
from carrick.store.turns import Turns

__all__ = ["GroupOptions", "SqliteDatabase", "SqliteTransaction", "SyncTransaction"]

T = TypeVar("T")

_PATIENCE = 30.0
_inside: ContextVar["SqliteTransaction | None"] = ContextVar("carrick_sqlite_transaction", default=None)


class SqliteTransaction(Transaction):
    """A transaction on a SQLite database. ``connection`` is SQLAlchemy's, for what :meth:`execute` does not do."""

    dialect = "sqlite"

    def __init__(self, connection: AsyncConnection, database: "SqliteDatabase") -> None:
        super().__init__()
        self.connection = connection
        self.database = database
        self.ended = False

    async def execute(
        self, statement: Executable | str, parameters: Parameters | Sequence[Parameters] | None = None
    ) -> Result:
        """Run SQL with ``:name`` parameters, or a SQLAlchemy statement."""
        if self.ended:
            raise CarrickError(Code.INTERNAL, "this transaction has ended; use it inside its `async with` block")
        with _vendor_errors():
            return await finish(self._run(statement, parameters))  # see _run

    async def script(self, sql: str) -> None:
        """Run several statements without parameters. For migrations."""
        for statement in statements(sql):
            await self.execute(statement)

    async def _run(self, statement: Executable | str, parameters: Parameters | Sequence[Parameters] | None) -> Result:
        """Run a statement to its end: one cut off before its rows are fetched outlives its connection's close.

        SQLite then keeps the transaction, with its lock, until the garbage collector finds the cursor.
        """
        try:
            if isinstance(statement, str):
                return await self.connection.exec_driver_sql(statement, parameters)
            return await self.connection.execute(statement, parameters)
        except DBAPIError:
            raw = await self.connection.get_raw_connection()
            assert raw.driver_connection is not None
            if not raw.driver_connection.in_transaction:  # SQLite rolled back by itself: nothing more may be run
                await self.connection.invalidate()
            raise


class SqliteDatabase:
    """One SQLite file. Opens and closes as a context manager; opening applies the migrations that are due.

    While the file can't be opened or is locked, opening waits up to ``startup_timeout`` seconds. A transaction waits
    up to ``busy_timeout`` seconds for a writer in another process, and for its turn behind the writers of this one.
    Used from one event loop.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        migrations: Sequence[Migrations] = (),
        busy_timeout: float = 5.0,
        readers: int = 4,
        startup_timeout: float = 30.0,
        groups: GroupOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        if readers < 1:
            raise ConfigurationError(f"readers must be 1 or more, not {readers}")
        if "://" in str(path):  # it is not shown: there may be a password in it
            raise ConfigurationError("a SqliteDatabase takes a path; carrick.store.database_at takes URLs")
        self.path = Path(path)
        self._migrations = [each.load("sqlite") for each in migrations]
        self._startup_timeout = startup_timeout
        self._clock = clock or SystemClock()
        self._turns = Turns(str(self.path))
        self._writer = _engine(self.path, busy_timeout, connections=1, writes=True)
        self._readers = _engine(self.path, busy_timeout, connections=readers, writes=False)
        groups = groups or GroupOptions()
        thread = WriterThread(partial(connect, self.path, busy_timeout), groups.time, self._clock)
        self._groups = GroupWriter(thread, self._turns, groups, _PATIENCE)

    async def run(self, work: Callable[[SyncTransaction], T]) -> T:
        """Run a plain function in a transaction, on the writer's thread, and return its result once it is committed.

        Functions that wait at the same time share a commit; each is whole or not at all. One that raises is undone by
        itself, and its error is raised here. Raises ``StoreError`` when the commit fails (then nothing of any of them
        is there), when SQLite rolled back what they shared, and ``RESOURCE_EXHAUSTED`` when too many wait, or this one
        waited for too long.

        The function sees the context variables of its caller, and runs once or not at all. It must be short: while it
        runs nobody else writes, and nothing can stop it. A cancellation that arrives before it has begun withdraws it;
        one that arrives later is raised after the commit.
        """
        self._refuse_inside()
        return await self._groups.run(work)

    async def atomically(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function that awaits its transaction and nothing else, as :meth:`run` runs a plain one."""
        return await self.run(lambda tx: at_once(work(tx.awaited)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """Begin a transaction that may write, when its turn comes.

        A cancellation that arrives during the commit is raised after it: the transaction is then committed.
        """
        self._refuse_inside()
        outer = _inside.get()
        async with self._turns.turn(_PATIENCE), _begun(self._writer) as connection:
            tx = SqliteTransaction(connection, self)
            _inside.set(tx)
            try:
                yield tx
            finally:
                tx.ended = True
                _inside.set(outer)
            await finish(_commit(connection, tx))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteTransaction]:
        """Begin a transaction that only reads, from one snapshot."""
        self._turns.check()
        async with _begun(self._readers) as connection:
            tx = SqliteTransaction(connection, self)
            try:
                yield tx
            finally:
                tx.ended = True

    async def connect(self) -> None:
        """Make transactions possible, with the schema as it is: to look at it."""
        self._turns.open()

    async def open(self) -> None:
        """Wait for the file and bring its schema up to date. Leaves no connection open when that fails."""
        try:
            await self.connect()
            await until_opened(self._migrate, str(self.path), self._startup_timeout, self._clock)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the transaction under way, refuse those that wait, and close all connections."""
        self._refuse_inside()
        await self._turns.close()
        await self._groups.stop()
        await self._readers.dispose()
        await self._writer.dispose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _refuse_inside(self) -> None:
        outer = _inside.get()
        if outer is not None and outer.database is self and not outer.ended:
            raise CarrickError(
                Code.INTERNAL,
                "this task, or the one that made it, is already in a transaction on this database and would wait "
                "for itself; pass that transaction on instead",
            )

    async def _migrate(self) -> None:
        async with self.transaction() as tx:
            await tx.execute(SCHEMA_TABLE.sqlite)
        for known in self._migrations:
            async with self.transaction() as tx:  # several processes may start at once: one migrates, the others wait
                await migrate(tx, known, tx.script)


@asynccontextmanager
async def _begun(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with _vendor_errors():
        connection = await engine.connect()
    try:
        with _vendor_errors():
            await finish(_begin(connection))
        yield connection
    finally:
        await finish(connection.close())  # whoever has the next turn finds no lock


async def _begin(connection: AsyncConnection) -> None:
    await connection.begin()


async def _commit(connection: AsyncConnection, tx: SqliteTransaction) -> None:
    try:
        with _vendor_errors():
            await connection.commit()
    except BaseException:
        await connection.invalidate()  # after a refused COMMIT the transaction is still open, and would stay so
        raise
    tx.committed()


def _engine(path: Path, busy_timeout: float, *, connections: int, writes: bool) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": busy_timeout},
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_PATIENCE,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: object) -> None:
        set_up(connection, writes=writes)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _vendor_errors() -> Iterator[None]:
    """Turn "not available" errors of the driver into ``StoreError``. Errors of a statement stay SQLAlchemy's."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreError(Code.RESOURCE_EXHAUSTED, f"no turn within {_PATIENCE:g} s: too many transactions") from error
    except DBAPIError as error:
        told = store_error(error.orig)
        if told is None:
            raise
        raise told from error
