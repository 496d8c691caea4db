from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from asyncpg import UniqueViolationError
from sqlalchemy.exc import IntegrityError

from carrick import CarrickError, Code, Context, RejectedError, RetryOptions, StoreError
from carrick.context import enter
from carrick.observe import Observation, ResourceDegraded
from carrick.resource import RESOURCE_BREAKER, Resource
from carrick.store import Database, GuardedDatabase, SyncTransaction, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, Seen, half
from tests.unit.store.places import AnyDatabase

T = TypeVar("T")

_LOCKED = "database is locked (SQLITE_BUSY)"

ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


class _Lockable:
    """A real database whose beginnings fail while it is locked."""

    def __init__(self, database: AnyDatabase) -> None:
        self._database = database
        self.locked_for = 0
        self.begun = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.begun += 1
        if self.locked_for:
            self.locked_for -= 1
            raise StoreError(Code.UNAVAILABLE, _LOCKED)
        async with self._database.transaction() as tx:
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with self._database.read() as tx:
            yield tx

    async def run(self, work: Callable[[SyncTransaction], T]) -> T:
        self.begun += 1
        if self.locked_for:
            self.locked_for -= 1
            raise StoreError(Code.UNAVAILABLE, _LOCKED)
        assert isinstance(self._database, SqliteDatabase)
        return await self._database.run(work)


class _Guarded:
    """A database behind a guard with a fake clock."""

    def __init__(self, database: AnyDatabase, *, retry: RetryOptions | None = None) -> None:
        self.inner = _Lockable(database)
        self.clock = FakeClock(autojump=True)
        self.seen = Seen()
        self.resource = Resource("database", retry=retry, clock=self.clock, uniform=half, observe=self.seen)
        self.database = GuardedDatabase(self.inner, self.resource)

    def counts(self, operation: str) -> tuple[int, int, int]:
        """What an operation's circuit has counted."""
        state = self.resource.breaker(operation)
        assert state is not None
        return state.counts(self.clock.monotonic())

    async def lock(self) -> list[Observation]:
        """Fail until the circuit is open."""
        self.inner.locked_for = RESOURCE_BREAKER.min_calls
        for _ in range(RESOURCE_BREAKER.min_calls):
            with pytest.raises(StoreError, match="SQLITE_BUSY"):
                async with self.database.transaction():
                    pytest.fail("it began")
        return self.seen.observations


async def test_transactions_go_through(database: AnyDatabase) -> None:
    """They commit, they are read, and each counts once."""
    guarded = _Guarded(database)
    async with guarded.database.transaction() as tx:
        await tx.execute("CREATE TABLE t (x INTEGER)")
        await tx.execute("INSERT INTO t VALUES (1)")
    async with guarded.database.read() as tx:
        assert (await tx.execute("SELECT x FROM t")).scalar_one() == 1
    assert (guarded.counts("transaction"), guarded.counts("read")) == ((1, 0, 0), (1, 0, 0))


async def test_with_the_circuit_open_a_transaction_is_refused_at_once(database: AnyDatabase) -> None:
    """The error is the store's, says that nothing was done, and the database is not asked; readers go on."""
    guarded = _Guarded(database)
    (degraded,) = await guarded.lock()
    assert isinstance(degraded, ResourceDegraded)
    assert (degraded.resource, degraded.operation) == ("database", "transaction")

    with pytest.raises(StoreError, match="the circuit to database is open") as caught:
        async with guarded.database.transaction():
            pytest.fail("it began")
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent
    assert guarded.inner.begun == RESOURCE_BREAKER.min_calls
    async with guarded.database.read() as tx:
        assert (await tx.execute("SELECT 1")).scalar_one() == 1


async def test_it_recovers_with_the_first_transaction_that_begins(database: AnyDatabase) -> None:
    """After a while one is let through; how it ends is its own matter."""
    guarded = _Guarded(database)
    await guarded.lock()
    guarded.clock.advance(1.0)
    with pytest.raises(ValueError, match="bug"):
        async with guarded.database.transaction():
            raise ValueError("bug")
    assert guarded.seen.names == ["ResourceDegraded", "ResourceRecovered"]


async def test_only_the_beginning_is_tried_again(database: AnyDatabase) -> None:
    """A block that failed is not run again: what it did outside of the database would be done twice."""
    guarded = _Guarded(database, retry=RetryOptions())
    guarded.inner.locked_for = 2
    with pytest.raises(StoreError, match="full"):
        async with guarded.database.transaction():
            raise StoreError(Code.UNAVAILABLE, "full")
    assert guarded.inner.begun == 3


async def test_a_deadline_that_leaves_no_time_to_try_again_is_a_store_error(database: AnyDatabase) -> None:
    """Whatever the guard ends with, who begins a transaction sees the store's error, with its cause."""
    guarded = _Guarded(database, retry=RetryOptions(initial_backoff=1.0))
    guarded.inner.locked_for = 5
    handled = Context(PLAIN, deadline=guarded.clock.monotonic() + 0.1)
    with enter(handled), pytest.raises(StoreError, match=r"leaves no time .*SQLITE_BUSY") as caught:
        async with guarded.database.transaction():
            pytest.fail("it began")
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert guarded.inner.begun == 1


async def test_using_it_wrongly_says_nothing_about_the_database(database: AnyDatabase) -> None:
    """A transaction within a transaction, writing while reading, and a bad statement pass and do not count."""
    guarded = _Guarded(database)
    for _ in range(5):
        with pytest.raises(CarrickError, match="already in a transaction"):
            async with guarded.database.transaction(), guarded.database.transaction():
                pytest.fail("it began")
        with pytest.raises(StoreError, match="only reads"):
            async with guarded.database.read() as tx:
                await tx.execute("CREATE TABLE t (x INTEGER)")
    async with guarded.database.transaction() as tx:
        await tx.execute("CREATE TABLE u (x INTEGER UNIQUE)")
        await tx.execute("INSERT INTO u VALUES (1)")
    for _ in range(5):
        with pytest.raises((IntegrityError, UniqueViolationError)):
            async with guarded.database.transaction() as tx:
                await tx.execute("INSERT INTO u VALUES (1)")
    assert not guarded.resource.degraded
    assert (guarded.counts("transaction")[1], guarded.counts("read")[1]) == (0, 0)


@ON_SQLITE
async def test_functions_go_through_like_transactions(database: SqliteDatabase) -> None:
    """They count in the same circuit, once; with it open they are refused at once, unrun."""
    guarded = _Guarded(database)
    assert await guarded.database.run(lambda tx: tx.execute("SELECT 1").scalar_one()) == 1
    assert guarded.counts("transaction") == (1, 0, 0)
    guarded = _Guarded(database)
    await guarded.lock()
    begun = guarded.inner.begun
    with pytest.raises(StoreError, match="the circuit to database is open"):
        await guarded.database.run(lambda tx: pytest.fail("it ran"))
    assert guarded.inner.begun == begun


async def test_a_function_is_never_run_again(database: SqliteDatabase) -> None:
    """Whatever failed: whether it had begun is not known here. The failure counts."""
    guarded = _Guarded(database, retry=RetryOptions())
    guarded.inner.locked_for = 1
    with pytest.raises(StoreError, match="SQLITE_BUSY"):
        await guarded.database.run(lambda tx: None)
    assert guarded.inner.begun == 1
    assert guarded.counts("transaction")[1] == 1


@ON_SQLITE
async def test_errors_of_a_functions_own_pass(database: SqliteDatabase) -> None:
    """Also those that a guard would raise, and they speak against nobody."""
    guarded = _Guarded(database)

    def refused(tx: SyncTransaction) -> None:
        raise RejectedError(Code.UNAVAILABLE, "of something else")

    for _ in range(5):
        with pytest.raises(RejectedError, match="of something else"):
            await guarded.database.run(refused)
    assert not guarded.resource.degraded


async def test_a_database_that_runs_no_functions_says_so(database: SqliteDatabase) -> None:
    """With what to write instead."""

    class Other:
        transaction = database.transaction
        read = database.read

    other: Database = Other()
    with pytest.raises(TypeError, match="a Other does not run functions; use `async with"):
        await GuardedDatabase(other, Resource("database")).run(lambda tx: None)
