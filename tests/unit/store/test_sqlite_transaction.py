"""Transactions on SQLite: all or nothing, one writer at a time, nothing lost."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from carrick.errors import Code, ConfigurationError, StoreError
from carrick.store.sqlite import SqliteDatabase
from tests.unit.testing.programs import until_closed

SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database with two tables that are always written together."""
    async with SqliteDatabase(tmp_path / "shop.db", busy_timeout=0.05) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            await tx.execute("CREATE TABLE events (id INTEGER PRIMARY KEY)")
        yield database
    await until_closed()


async def _write(database: SqliteDatabase, number: int, committed: list[int]) -> None:
    async with database.transaction() as tx:
        tx.after_commit(lambda: committed.append(number))
        await tx.execute("INSERT INTO orders VALUES (:id)", {"id": number})
        await tx.execute("INSERT INTO events VALUES (:id)", {"id": number})


def _ids(database: SqliteDatabase, table: str = "orders") -> list[int]:
    """Read on a connection of another's: sees only what was committed."""
    with closing(sqlite3.connect(database.path)) as other:
        return [row[0] for row in other.execute(f"SELECT id FROM {table} ORDER BY id")]


async def test_errors_of_a_statement_stay_the_drivers(db: SqliteDatabase) -> None:
    """A broken constraint is the user's own business: it stays SQLAlchemy's error, and undoes the transaction."""
    with pytest.raises(IntegrityError):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
            await tx.execute("INSERT INTO orders VALUES (1)")
    assert _ids(db) == []


async def test_every_commit_is_synced_to_disk(db: SqliteDatabase) -> None:
    """All connections write ahead (WAL), sync fully and check foreign keys."""
    for begin in (db.transaction, db.read):
        async with begin() as tx:
            assert (await tx.execute("PRAGMA journal_mode")).all() == [("wal",)]
            assert (await tx.execute("PRAGMA synchronous")).all() == [(2,)]
            assert (await tx.execute("PRAGMA foreign_keys")).all() == [(1,)]


async def test_the_write_lock_is_taken_before_the_first_statement(db: SqliteDatabase) -> None:
    """``BEGIN IMMEDIATE``: once a transaction has begun, no other process can begin to write."""
    with closing(sqlite3.connect(db.path, timeout=0, isolation_level=None)) as other:
        async with db.transaction():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")


async def test_two_databases_may_be_written_at_the_same_time(db: SqliteDatabase, tmp_path: Path) -> None:
    """A transaction on another database is another transaction."""
    async with SqliteDatabase(tmp_path / "other.db") as other:
        async with other.transaction(), db.transaction() as tx:
            await tx.execute("INSERT INTO orders VALUES (1)")
        assert _ids(db) == [1]


async def test_what_was_committed_is_visible_to_its_actions(db: SqliteDatabase) -> None:
    """Actions run once the data is visible to others, in the order given, and never after a rollback."""
    seen: list[tuple[str, list[int]]] = []
    async with db.transaction() as tx:
        tx.after_commit(lambda: seen.append(("first", _ids(db))))
        tx.after_commit(lambda: seen.append(("second", _ids(db))))
        await tx.execute("INSERT INTO orders VALUES (1)")
        assert seen == []
    assert seen == [("first", [1]), ("second", [1])]
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            tx.after_commit(lambda: seen.append(("never", [])))
            raise KeyError
    assert len(seen) == 2


async def test_a_list_of_parameters_runs_the_statement_for_each(db: SqliteDatabase) -> None:
    """Many rows take one call; SQLAlchemy's own statements are taken too."""
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO orders VALUES (:id)", [{"id": 1}, {"id": 2}, {"id": 3}])
        changed = await tx.execute(text("DELETE FROM orders WHERE id > :id"), {"id": 1})
        assert changed.rowcount == 2
    assert _ids(db) == [1]


async def test_a_busy_database_is_a_store_error(db: SqliteDatabase) -> None:
    """A lock that another process holds for too long is ``UNAVAILABLE``, and passes when it is released."""
    with closing(sqlite3.connect(db.path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="SQLITE_BUSY") as caught:
            async with db.transaction():
                pytest.fail("entered")
        assert caught.value.code is Code.UNAVAILABLE
        async with db.read() as reader:
            assert (await reader.execute("SELECT id FROM orders")).all() == []
        other.execute("ROLLBACK")
    await _write(db, 1, [])
    assert _ids(db) == [1]


async def test_a_cancellation_during_the_commit_is_raised_after_it(db: SqliteDatabase) -> None:
    """A commit that has begun is finished: the transaction is committed, its actions ran, and the task is cancelled."""
    committed: list[int] = []
    task = asyncio.create_task(_write(db, 1, committed))

    def cancel(connection: object) -> None:
        task.cancel()

    event.listen(Engine, "commit", cancel)
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        event.remove(Engine, "commit", cancel)
    assert _ids(db) == _ids(db, "events") == committed == [1]
    await _write(db, 2, committed)
    assert _ids(db) == [1, 2]


async def test_two_cancellations_during_the_commit_do_not_halve_it(db: SqliteDatabase) -> None:
    """An impatient second cancellation changes nothing: rows and actions still agree, the database still works."""
    committed: list[int] = []
    task = asyncio.create_task(_write(db, 1, committed))

    def cancel(connection: object) -> None:
        task.cancel()
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(task.cancel))

    event.listen(Engine, "commit", cancel)
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        event.remove(Engine, "commit", cancel)
    await _write(db, 2, committed)
    assert _ids(db) == _ids(db, "events") == committed


async def test_a_statement_is_never_cut_short(db: SqliteDatabase) -> None:
    """A timeout around a statement is raised after it has ended: the transaction is whole, and its lock is let go."""
    committed: list[int] = []
    async with db.transaction() as tx:
        tx.after_commit(lambda: committed.append(1))
        await tx.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await tx.execute(SLOW)
    assert _ids(db) == committed == [1]
    await _write(db, 2, committed)
    assert _ids(db) == committed == [1, 2]


async def test_a_refused_commit_leaves_no_transaction_open(db: SqliteDatabase) -> None:
    """A deferred foreign key makes COMMIT itself fail: nothing stays, nobody is told, and the next one can write."""
    committed: list[int] = []
    async with db.transaction() as tx:
        await tx.execute("CREATE TABLE lines (order_id INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(SQLAlchemyError, match="FOREIGN KEY"):
        async with db.transaction() as tx:
            tx.after_commit(lambda: committed.append(1))
            await tx.execute("INSERT INTO lines VALUES (77)")
    assert committed == []
    await _write(db, 2, committed)
    assert _ids(db) == committed == [2]


async def test_a_database_needs_a_reader(tmp_path: Path) -> None:
    """Without readers nothing could be read: refused at construction."""
    with pytest.raises(ConfigurationError, match="readers must be 1 or more, not 0"):
        SqliteDatabase(tmp_path / "shop.db", readers=0)
