"""Waking the relay: after the commit where the connection tells of it, by hand where it does not."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, Pool, StaticPool

from carrick import outbox
from carrick.outbox import Outbox
from carrick.store import SyncTransaction
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.outbox.places import ASYNC_SQLITE, SYNC_SQLITE, alchemy

EVENT = OrderPlaced(order_id="o-1")


@pytest.fixture
async def path(tmp_path: Path) -> str:
    """A file with an outbox."""
    async with SqliteDatabase(tmp_path / "a.db", migrations=[outbox.MIGRATIONS]):
        return str(tmp_path / "a.db")


async def test_a_session_wakes_it_once_for_each_commit(path: str) -> None:
    """After the commit of the whole transaction, not of a savepoint in it, and not after a rollback."""
    woken: list[str] = []
    events = Outbox("orders", wake=lambda: woken.append("woken"))
    engine = create_async_engine(alchemy(path, "aiosqlite"))
    async with AsyncSession(engine) as session:
        for turn in (1, 2):
            async with session.begin():
                await events.write(session, ORDER_PLACED, EVENT)
                async with session.begin_nested():
                    await events.write_all(session, [(ORDER_PLACED, EVENT)] * 2)
                assert len(woken) == turn - 1
            assert len(woken) == turn
        async with session.begin():
            await session.execute(text("SELECT 1"))
        with pytest.raises(KeyError):
            async with session.begin():
                await events.write(session, ORDER_PLACED, EVENT)
                raise KeyError
    assert len(woken) == 2
    await engine.dispose()


async def test_a_synchronous_session_too(path: str) -> None:
    """As the asynchronous one."""
    woken: list[str] = []
    events = Outbox("orders", wake=lambda: woken.append("woken"))
    engine = create_engine(alchemy(path, "pysqlite"))
    with Session(engine) as session, session.begin():
        events.write_sync(session, ORDER_PLACED, EVENT)
        assert woken == []
    assert woken == ["woken"]
    engine.dispose()


@pytest.mark.parametrize("pool", [None, NullPool, StaticPool])
async def test_a_connection_wakes_it_when_it_is_given_back(path: str, pool: type[Pool] | None) -> None:
    """Once for each time, after the commit; again after the engine had to make a new pool."""
    seen: list[int] = []
    events = Outbox("orders", wake=lambda: seen.append(_count(path)))
    engine = create_async_engine(alchemy(path, "aiosqlite"), **({} if pool is None else {"poolclass": pool}))
    for turn in (1, 2, 3):
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await events.write(connection, ORDER_PLACED, EVENT)
            await events.write_all(connection, [(ORDER_PLACED, EVENT)] * 2)
            assert len(seen) == turn - 1
        assert seen == [3 * each for each in range(1, turn + 1)]
        if turn == 2:
            await engine.dispose()
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
    assert len(seen) == 3
    await engine.dispose()


async def test_a_synchronous_connection_too(path: str) -> None:
    """As the asynchronous one; a connection that is kept is not heard of before its end."""
    seen: list[int] = []
    events = Outbox("orders", wake=lambda: seen.append(_count(path)))
    engine = create_engine(alchemy(path, "pysqlite"))
    with engine.connect() as connection:
        for _ in range(2):
            with connection.begin():
                events.write_sync(connection, ORDER_PLACED, EVENT)
        assert seen == []
    assert seen == [2]
    engine.dispose()


def _count(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM carrick_outbox").fetchone()[0])


async def test_others_do_not_tell_of_commits(path: str) -> None:
    """The relay then polls, or is woken by hand."""
    woken: list[str] = []
    events = Outbox("orders", wake=lambda: woken.append("woken"))
    asynchronous: dict[str, Any] = {name: each for name, each in ASYNC_SQLITE.items() if "sqlalchemy" not in name}
    synchronous: dict[str, Any] = {name: each for name, each in SYNC_SQLITE.items() if "sqlalchemy" not in name}
    for place in asynchronous.values():
        async with place(path) as tx:
            await events.write(tx, ORDER_PLACED, EVENT)
    for place in synchronous.values():
        with place(path) as tx:
            events.write_sync(tx, ORDER_PLACED, EVENT)
    assert woken == []
    events.wake()
    assert woken == ["woken"]
    Outbox("orders").wake()


async def test_a_function_that_the_database_runs_writes_too(database: SqliteDatabase) -> None:
    """In the transaction of ``run()``; the relay is woken after its commit."""
    woken: list[str] = []
    events = Outbox("orders", wake=lambda: woken.append("woken"))

    def work(tx: SyncTransaction) -> list[str]:
        return [
            events.write_sync(tx, ORDER_PLACED, EVENT),
            *events.write_all_sync(tx, [(ORDER_PLACED, EVENT)] * 2),
        ]

    ids = await database.run(work)
    assert woken
    async with database.read() as tx:
        assert [row.id for row in (await tx.execute("SELECT id FROM carrick_outbox ORDER BY seq")).all()] == ids


def test_a_synchronous_transaction_of_that_shape_is_accepted() -> None:
    """What runs a statement, has a dialect and tells of its commit is enough."""

    class Given:
        dialect = "sqlite"

        def __init__(self) -> None:
            self.ran: list[Any] = []
            self.actions: list[Any] = []

        def execute(self, statement: str, parameters: Any = None) -> None:
            self.ran.append(parameters)

        def after_commit(self, action: Any) -> None:
            self.actions.append(action)

    def wake() -> None: ...

    tx: Any = Given()
    event_id = Outbox("orders", wake=wake).write_sync(tx, ORDER_PLACED, EVENT)
    assert [each["id"] for each in tx.ran] == [event_id]
    assert tx.actions == [wake]
