"""PostgreSQL, set up so that nothing is lost, nothing waits for ever, and an unknown end is called one.

Some connections write, others only read, each from one snapshot; a reader inside of a transaction never waits for
writers. The server ends statements, waits for locks and idle transactions that take too long; the client ends what the
server does not answer.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import asyncpg

from carrick.cancellation import finish
from carrick.clock import Clock, SystemClock
from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.store._opening import until_opened
from carrick.store._parameters import numbered
from carrick.store.migrations import MIGRATING, SCHEMA_TABLE, Migrations, migrate
from carrick.store.transaction import Parameters, Transaction

__all__ = ["Isolation", "PostgresDatabase", "PostgresTransaction", "Rows", "host_and_database"]

Isolation = Literal["read committed", "repeatable read", "serializable"]

_POOL_TIMEOUT = 30.0
_NO_TIMEOUT = 7 * 86_400.0
_MEANINGS = (
    ("08", Code.UNAVAILABLE),  # connection lost
    ("25P03", Code.UNAVAILABLE),  # idle in a transaction for too long
    ("40001", Code.ABORTED),  # serialization failure
    ("40P01", Code.ABORTED),  # deadlock
    ("53", Code.RESOURCE_EXHAUSTED),  # too many connections, disk or memory full
    ("55P03", Code.UNAVAILABLE),  # waited for a lock for too long
    ("57014", Code.DEADLINE_EXCEEDED),  # took too long
    ("57P", Code.UNAVAILABLE),  # shutting down, crashed, starting
    ("58", Code.UNAVAILABLE),  # I/O error
)
_READ_ONLY = "25006"
_LAST_PORT = 65_535
_HOST = re.compile(r"(\[[\w:.%]+\]|[^:\[\]]*)(:\d+)?").fullmatch
_inside: ContextVar["PostgresTransaction | None"] = ContextVar("carrick_postgres_transaction", default=None)
_numbered = lru_cache(maxsize=1024)(numbered)


class _Row(asyncpg.Record):  # type: ignore[misc]  # asyncpg has no types
    """A row: a tuple whose columns are attributes too; ``row["get"]`` where asyncpg has a method of that name."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name}; it has {', '.join(self.keys())}") from None


class Rows:
    """What a statement returned. ``rowcount`` is -1 where PostgreSQL does not tell."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def all(self) -> Sequence[Any]:
        """All rows."""
        return self._rows

    def first(self) -> Any | None:
        """The first row, or None."""
        return self._rows[0] if self._rows else None

    def scalar_one(self) -> Any:
        """The one value of the one row; raises ``StoreError`` when there are more or none."""
        if len(self._rows) != 1 or len(self._rows[0]) != 1:
            raise StoreError(Code.INTERNAL, f"one row of one column was expected, not {len(self._rows)} rows")
        return self._rows[0][0]


class PostgresTransaction(Transaction):
    """A transaction on a PostgreSQL database. ``connection`` is asyncpg's, for what :meth:`execute` does not do."""

    dialect = "postgresql"

    def __init__(self, connection: Any, database: "PostgresDatabase", *, writes: bool) -> None:
        super().__init__()
        self.connection = connection
        self.database = database
        self.writes = writes
        self.ended = False
        self._settled = False
        self._cut = False

    async def execute(self, statement: str, parameters: Parameters | Sequence[Parameters] | None = None) -> Rows:
        """Run SQL with ``:name`` parameters. A list of them is sent in one go, and returns no rows.

        A cancellation ends the statement in the server too, and with it the transaction: nothing more can be run in
        it, nor committed. What keeps a transaction whole over a failing statement is a savepoint.
        """
        self._check()
        sql, names = _numbered(statement)
        with self._ending():
            if isinstance(parameters, Sequence):
                rows = [_arguments(statement, names, each) for each in parameters]
                await self.connection.executemany(sql, rows)
                return Rows((), -1)
            arguments = _arguments(statement, names, parameters or {})
            # what fetch() and execute() call: the one throws away the count of rows, the other the rows
            found, status, _ = await self.connection._execute(sql, arguments, 0, None, return_status=True)
            return Rows(found, _rowcount(status))

    async def script(self, sql: str) -> None:
        """Run several statements without parameters, for as long as they take. For migrations."""
        self._check()
        with self._ending():
            await self.connection.execute(sql, timeout=_NO_TIMEOUT)
        if not self.connection.is_in_transaction():
            raise ConfigurationError("a migration must not end its transaction: leave out COMMIT and ROLLBACK")

    def _check(self) -> None:
        """Raise what keeps the transaction from going on."""
        if self.ended:
            raise CarrickError(Code.INTERNAL, "this transaction has ended; use it inside its `async with` block")
        self._check_whole()
        if _closed(self.connection):
            raise StoreError(Code.UNAVAILABLE, f"the connection to {self.database.name} was lost; all of it is undone")

    def _check_whole(self) -> None:
        """Raise when a statement was cut short."""
        if self._cut:
            raise StoreError(
                Code.ABORTED, "a statement of this transaction was cancelled or got no answer; all of it is undone"
            )

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Note a statement that is cut short, and map errors."""
        with _vendor_errors(self.database.name, self.connection, writes=self.writes):
            try:
                yield
            except (asyncio.CancelledError, TimeoutError) as error:
                self._cut = True
                if isinstance(error, TimeoutError):  # the server does not answer: neither would it a rollback
                    _terminate(self.connection)
                raise


class PostgresDatabase:
    """A PostgreSQL database. Opens and closes as a context manager; opening applies the migrations that are due.

    ``url`` is ``postgresql://user:password@host/database``, with asyncpg's parameters behind it. With ``schema`` the
    service lives in a schema of its own, made when it is missing. While the server can't be reached, opening waits up
    to ``startup_timeout`` seconds. At most ``writers`` transactions write and ``readers`` read at the same time, others
    wait for their turn.

    Unlike in SQLite, transactions that write run side by side, at the level ``isolation``: with ``"read committed"``
    what was read may have changed before it is written, so lock it (``SELECT ... FOR UPDATE``), or write in terms of
    what is there (``SET pieces = pieces - 1 WHERE pieces > 0``). With ``"serializable"`` one of two that would disturb
    each other is ``ABORTED``, to be tried again.

    Seconds: ``statement_timeout`` for a statement, ``lock_timeout`` for each wait for a lock, ``idle_timeout`` between
    two statements of a transaction, after which the server ends it, so that its locks are not held for ever;
    ``answer_timeout`` for connecting, beginning and rolling back, and beyond ``statement_timeout`` for a server that
    does not answer at all.
    """

    def __init__(
        self,
        url: str,
        *,
        migrations: Sequence[Migrations] = (),
        schema: str | None = None,
        isolation: Isolation = "read committed",
        writers: int = 10,
        readers: int = 4,
        statement_timeout: float = 30.0,
        lock_timeout: float = 5.0,
        idle_timeout: float = 60.0,
        answer_timeout: float = 10.0,
        startup_timeout: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self.name = host_and_database(url)
        _check_above_zero(
            writers=writers,
            readers=readers,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            idle_timeout=idle_timeout,
            answer_timeout=answer_timeout,
        )
        if schema == "":
            raise ConfigurationError("schema is a name, or None for the role's own search path")
        self._url = url
        self._migrations = [each.load("postgresql") for each in migrations]
        self._schema = schema
        self._begin = f"BEGIN ISOLATION LEVEL {_level(isolation)} READ WRITE"
        self._sizes = (writers, readers)
        self._statement_timeout = statement_timeout
        self._answer_timeout = answer_timeout
        self._settings = {
            "statement_timeout": _milliseconds(statement_timeout),
            "lock_timeout": _milliseconds(lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(idle_timeout),
            **({} if schema is None else {"search_path": _quoted(schema)}),
        }
        self._startup_timeout = startup_timeout
        self._clock = clock or SystemClock()
        self._pools: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.name})"

    def transaction(self) -> AbstractAsyncContextManager[PostgresTransaction]:
        """Begin a transaction that may write.

        A cancellation that arrives during the commit is raised after it: the transaction is then committed. When the
        connection is lost during the commit, the ``StoreError`` says that its end is unknown.
        """
        return self._writing(self._begin)

    def read(self) -> AbstractAsyncContextManager[PostgresTransaction]:
        """Begin a transaction that only reads, from one snapshot."""
        return self._begun(1, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", writes=False)

    async def open(self) -> None:
        """Wait for the server and bring the schema up to date. Leaves no connection open when that fails."""
        try:
            await self.connect()
            await until_opened(self._migrate, self.name, self._startup_timeout, self._clock)
        except BaseException:
            await self.close()
            raise

    async def connect(self) -> None:
        """Make transactions possible, with the schema as it is and without waiting for the server: to look at it."""
        self._pools = (await self._pool(self._sizes[0]), await self._pool(self._sizes[1]))

    async def close(self) -> None:
        """Close all connections. Transactions under way have ``answer_timeout`` seconds to end."""
        pools, self._pools = self._pools, None
        if pools is not None:
            await asyncio.gather(*(self._close(pool) for pool in pools))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _pool(self, size: int) -> Any:
        return await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=size,
            record_class=_Row,
            timeout=self._answer_timeout,
            command_timeout=self._statement_timeout + self._answer_timeout,
            server_settings=self._settings,
        )

    async def _close(self, pool: Any) -> None:
        try:
            async with asyncio.timeout(self._answer_timeout):
                await pool.close()
        except BaseException as error:
            pool.terminate()
            if not isinstance(error, Exception):
                raise

    async def _migrate(self) -> None:
        async with self._migrating() as tx:
            if self._schema is not None:
                found = await tx.execute("SELECT 1 FROM pg_namespace WHERE nspname = :name", {"name": self._schema})
                if not found.all():  # without asking, the right to make schemas would be needed
                    await tx.execute(f"CREATE SCHEMA {_quoted(self._schema)}")
            await tx.execute(SCHEMA_TABLE.postgresql)
        for known in self._migrations:
            async with self._migrating() as tx:
                await migrate(tx, known, tx.script)

    @asynccontextmanager
    async def _migrating(self) -> AsyncIterator[PostgresTransaction]:
        """Begin a transaction of the one process that migrates; the others wait."""
        async with self._writing("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE") as tx:  # sees what others migrated
            await tx.execute(MIGRATING.postgresql)
            await tx.execute("SET LOCAL statement_timeout = 0")
            yield tx

    @asynccontextmanager
    async def _writing(self, begin: str) -> AsyncIterator[PostgresTransaction]:
        outer = _inside.get()
        if outer is not None and outer.database is self and not outer.ended:
            raise CarrickError(
                Code.INTERNAL,
                "this task, or the one that made it, is already in a transaction on this database and could wait "
                "for itself; pass that transaction on instead",
            )
        async with self._begun(0, begin, writes=True) as tx:
            _inside.set(tx)
            try:
                yield tx
            finally:
                tx.ended = True
                _inside.set(outer)
            await finish(self._commit(tx))

    @asynccontextmanager
    async def _begun(self, which: int, begin: str, *, writes: bool) -> AsyncIterator[PostgresTransaction]:
        if self._pools is None:
            raise StoreError(Code.INTERNAL, f"{self.name} is not open; open it with `async with`, or as part of an App")
        pool = self._pools[which]
        connection = await self._connection(pool, begin)
        tx = PostgresTransaction(connection, self, writes=writes)
        try:
            yield tx
        finally:
            tx.ended = True
            await finish(self._give_back(pool, connection, settled=tx._settled))

    async def _connection(self, pool: Any, begin: str) -> Any:
        """Take a connection and begin. One that was lost while it lay in the pool is replaced: nothing was done yet."""
        lost = 0
        while True:
            connection = await self._acquire(pool)
            try:
                with _vendor_errors(self.name, connection):
                    await connection.execute(begin, timeout=self._answer_timeout)
                return connection
            except BaseException as error:
                lost += _closed(connection)
                again = isinstance(error, StoreError) and _closed(connection) and lost <= pool.get_max_size()
                await finish(self._give_back(pool, connection, settled=False))
                if not again:
                    raise

    async def _acquire(self, pool: Any) -> Any:
        try:
            async with asyncio.timeout(_POOL_TIMEOUT):
                with _vendor_errors(self.name, None):
                    return await pool.acquire()
        except TimeoutError as error:
            raise StoreError(
                Code.RESOURCE_EXHAUSTED, f"no turn within {_POOL_TIMEOUT:g} s: too many transactions"
            ) from error

    async def _commit(self, tx: PostgresTransaction) -> None:
        tx._check_whole()
        if _closed(tx.connection):
            raise StoreError(
                Code.UNAVAILABLE, f"the connection to {self.name} was lost before the commit; nothing was committed"
            )
        try:
            with _vendor_errors(self.name, tx.connection):
                ended = await tx.connection.execute("COMMIT")
        except StoreError as error:
            if error.code is not Code.UNAVAILABLE or isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise  # the server's word: it was undone
            _terminate(tx.connection)
            raise StoreError(
                Code.UNAVAILABLE, f"it is unknown whether the transaction was committed: {error.message}"
            ) from error
        tx._settled = True
        if ended != "COMMIT":
            raise StoreError(
                Code.INTERNAL,
                "nothing was committed: a statement had failed, and its error was swallowed inside of the transaction; "
                "let it pass, or put the statement behind a savepoint",
            )
        tx.committed()

    async def _give_back(self, pool: Any, connection: Any, *, settled: bool) -> None:
        """Return a connection to its pool: rolled back, or closed when the server does not say that it did that."""
        try:
            if not settled and not _closed(connection):
                async with asyncio.timeout(self._answer_timeout):
                    await connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001  # whatever it is, the server rolls back when the connection ends
            _terminate(connection)
        with suppress(Exception):  # then the pool has closed it
            await pool.release(connection, timeout=self._answer_timeout)


@contextmanager
def _vendor_errors(name: str, connection: Any, *, writes: bool = True) -> Iterator[None]:
    """Turn "not available" errors of the driver into ``StoreError``. Errors of a statement stay asyncpg's.

    Without a connection one is being made, and every error says that the database can't be had.
    """
    try:
        yield
    except TimeoutError as error:
        raise StoreError(Code.UNAVAILABLE, f"no answer from {name}") from error
    except OSError as error:
        raise StoreError(Code.UNAVAILABLE, f"{name}: {error}") from error
    except asyncpg.InvalidCachedStatementError as error:
        raise StoreError(Code.ABORTED, f"the schema was changed meanwhile; try again: {error.args[0]}") from error
    except asyncpg.PostgresError as error:
        code = _meaning(error, connecting=connection is None)
        if code is not None:
            raise StoreError(code, f"{error.args[0]} ({error.sqlstate})") from error
        if error.sqlstate == _READ_ONLY:
            raise _read_only(writes) from error
        raise
    except asyncpg.InterfaceError as error:
        if connection is not None and not _closed(connection):
            raise  # the statement's arguments, or two statements at once
        raise StoreError(Code.UNAVAILABLE, f"{name}: {error.args[0]}") from error


def _closed(connection: Any) -> bool:
    """Say whether a connection of a pool is lost: the pool has then taken it back, and refuses to say more."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _meaning(error: asyncpg.PostgresError, *, connecting: bool) -> Code | None:
    state = error.sqlstate or ""
    found = next((code for start, code in _MEANINGS if state.startswith(start)), None)
    return Code.UNAVAILABLE if found is None and connecting else found


def _read_only(writes: bool) -> StoreError:
    if writes:
        return StoreError(Code.UNAVAILABLE, "the server takes no writes: a standby, or set to read only")
    return StoreError(Code.INTERNAL, "this transaction only reads; write in `async with database.transaction() as tx`")


def _arguments(statement: str, names: Sequence[str], parameters: Parameters) -> list[Any]:
    try:
        return [parameters[name] for name in names]
    except KeyError as error:
        raise StoreError(
            Code.INTERNAL, f"the statement has the parameter :{error.args[0]}, which was not given: {statement.strip()}"
        ) from error


def _rowcount(status: bytes) -> int:
    """Read the number behind ``INSERT 0 5``, ``UPDATE 5``, ``SELECT 5``."""
    last = status.rpartition(b" ")[2]
    return int(last) if last.isdigit() else -1


def host_and_database(url: str) -> str:
    """Return what may be shown of a URL: hosts and database. Raises ``ConfigurationError``, which shows nothing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError("a PostgreSQL database is given as postgresql://user:password@host:port/database")
    hosts = parts.netloc.rpartition("@")[2]
    if "@" in parts.path + parts.query + parts.fragment or not all(map(_HOST, hosts.split(","))):
        raise ConfigurationError(
            "the database's URL can't be read: in user and password write %2F for /, %3A for :, %40 for @, %23 for #, "
            "%3F for ?, %25 for %"
        )
    if any(int(host.rpartition(":")[2]) > _LAST_PORT for host in hosts.split(",") if re.search(r":\d+$", host)):
        raise ConfigurationError(f"the database's URL has a port above {_LAST_PORT}: {hosts}")
    return f"postgresql://{hosts}{parts.path}"


def _level(isolation: str) -> str:
    levels = ("read committed", "repeatable read", "serializable")
    if isolation not in levels:
        raise ConfigurationError(f"isolation is one of {', '.join(levels)}, not {isolation}")
    return isolation.upper()


def _check_above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigurationError(f"{name} must be above 0, not {value}")


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
