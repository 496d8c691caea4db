"""Outside of a transaction nothing is written, and the error says what to write instead, for each driver."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from carrick.errors import Code, OutboxError
from carrick.outbox import Outbox
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.outbox.places import alchemy

EVENT = OrderPlaced(order_id="o-1")


async def _refusal(tx: Any) -> str:
    with pytest.raises(OutboxError) as caught:
        await Outbox("orders").write(tx, ORDER_PLACED, EVENT)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert "shop.orders.v1.OrderPlaced must be written in " in caught.value.message
    return caught.value.message


def _refusal_sync(tx: Any) -> str:
    with pytest.raises(OutboxError) as caught:
        Outbox("orders").write_sync(tx, ORDER_PLACED, EVENT)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert "shop.orders.v1.OrderPlaced must be written in " in caught.value.message
    return caught.value.message


async def test_asyncpg(postgres_url: str) -> None:
    """Its connections commit each statement; a closed or returned one is told apart."""
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:
            assert "inside of `async with connection.transaction():`" in await _refusal(connection)
        assert "given back to its pool" in await _refusal(connection)
    alone = await asyncpg.connect(postgres_url)
    await alone.close()
    assert "closed" in await _refusal(alone)


async def test_psycopg(postgres_url: str) -> None:
    """It begins by itself with the first statement, save in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        assert "psycopg begins one with the first statement after a commit" in await _refusal(connection)
        await connection.execute("SELECT 1")
        await connection.commit()
        assert "`async with connection.transaction():`" in await _refusal(connection)
        await connection.set_autocommit(True)
        await connection.execute("SELECT 1")
        assert "commits each statement by itself here (autocommit)" in await _refusal(connection)
    assert "closed" in await _refusal(connection)


def test_psycopg_sync(postgres_url: str) -> None:
    """As the asynchronous one."""
    with psycopg.connect(postgres_url) as connection:
        assert "inside of `with connection.transaction():`" in _refusal_sync(connection)
    assert "closed" in _refusal_sync(connection)


@pytest.mark.parametrize("level", ["DEFERRED", None])
def test_sqlite3(level: Any, tmp_path: Path) -> None:
    """A SELECT begins nothing; what begins by itself depends on how it was opened, so that is not relied on."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=level)) as connection:
        connection.execute("SELECT 1")
        assert 'connection.execute("BEGIN IMMEDIATE")' in _refusal_sync(connection)
    assert "closed" in _refusal_sync(connection)


async def test_aiosqlite(tmp_path: Path) -> None:
    """As the one that it wraps."""
    async with aiosqlite.connect(tmp_path / "a.db") as connection:
        assert 'await connection.execute("BEGIN IMMEDIATE")' in await _refusal(connection)
    assert "not open" in await _refusal(connection)


async def test_sqlalchemy(tmp_path: Path) -> None:
    """Writing must not be what begins: an event after the commit would be left alone in the next transaction."""
    engine = create_async_engine(alchemy(str(tmp_path / "a.db"), "aiosqlite"))
    assert "not open" in await _refusal(engine.connect())
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await connection.commit()
        assert "inside of `async with connection.begin():`" in await _refusal(connection)
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SELECT 1"))
        assert "isolation level is AUTOCOMMIT" in await _refusal(connection)
    assert "not open" in await _refusal(connection)
    async with AsyncSession(engine) as session:
        assert "inside of `async with session.begin():`" in await _refusal(session)
    async with AsyncSession(engine.execution_options(isolation_level="AUTOCOMMIT")) as session, session.begin():
        assert "isolation level is AUTOCOMMIT" in await _refusal(session)
    await engine.dispose()


def test_sqlalchemy_sync(tmp_path: Path) -> None:
    """As the asynchronous ones; an engine's own isolation level counts too."""
    url = alchemy(str(tmp_path / "a.db"), "pysqlite")
    engine, commits = create_engine(url), create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        assert "inside of `with connection.begin():`" in _refusal_sync(connection)
    with Session(engine) as session:
        assert "inside of `with session.begin():`" in _refusal_sync(session)
    with commits.begin() as connection:
        assert "isolation level is AUTOCOMMIT" in _refusal_sync(connection)
    with Session(commits) as session, session.begin():
        assert "isolation level is AUTOCOMMIT" in _refusal_sync(session)
    engine.dispose()
    commits.dispose()


@pytest.mark.parametrize("stranger", [None, object(), "tx", create_engine("sqlite://")])
async def test_strangers_are_told_what_is_accepted(stranger: object) -> None:
    """The list is in the error."""
    assert "SQLAlchemy's AsyncConnection or AsyncSession, asyncpg's Connection" in await _refusal(stranger)
    assert "SQLAlchemy's Connection or Session, psycopg's Connection" in _refusal_sync(stranger)


async def test_the_other_way_round_is_a_type_error(tmp_path: Path, database: Any) -> None:
    """Each way of writing names the other."""
    events = Outbox("orders")
    wrong: Any
    with (
        closing(sqlite3.connect(tmp_path / "a.db")) as wrong,
        pytest.raises(TypeError, match=r"a Connection of sqlite3 is synchronous: outbox\.write_sync"),
    ):
        await events.write(wrong, ORDER_PLACED, EVENT)
    async with aiosqlite.connect(tmp_path / "a.db") as wrong:
        with pytest.raises(TypeError, match=r"a Connection of aiosqlite is asynchronous: await outbox\.write\("):
            events.write_sync(wrong, ORDER_PLACED, EVENT)
    async with database.transaction() as wrong:
        with pytest.raises(TypeError, match=r"a SqliteTransaction is asynchronous: await outbox\.write\("):
            events.write_sync(wrong, ORDER_PLACED, EVENT)


def test_other_databases_are_refused() -> None:
    """The outbox's table is there for two of them."""

    class Oracle:
        dialect = "oracle"

        def execute(self, statement: str, parameters: Any) -> None: ...
        def after_commit(self, action: Any) -> None: ...

    with pytest.raises(OutboxError, match="an outbox is kept in SQLite or PostgreSQL, not in oracle") as caught:
        Outbox("orders").write_sync(Oracle(), ORDER_PLACED, EVENT)  # type: ignore[arg-type]
    assert caught.value.code is Code.UNIMPLEMENTED


async def test_a_batch_is_written_whole_or_not_at_all(database: Any) -> None:
    """One event that is refused keeps the others from being written."""
    async with database.transaction() as tx:
        with pytest.raises(OutboxError, match="empty order_id"):
            await Outbox("orders").write_all(tx, [(ORDER_PLACED, EVENT), (ORDER_PLACED, OrderPlaced())])
        with pytest.raises(OutboxError, match="NUL character"):
            await Outbox("orders").write_all(tx, [(ORDER_PLACED, EVENT), (ORDER_PLACED, OrderPlaced(order_id="\0"))])
        assert (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one() == 0
