"""Writing on the connections that users bring: in their transaction, on the real drivers and databases."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from carrick import outbox
from carrick.event import partition_of
from carrick.outbox import Outbox
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.outbox.places import ASYNC_POSTGRES, ASYNC_SQLITE, SYNC_POSTGRES, SYNC_SQLITE

KEYS = [*(f"o{number}" for number in range(40)), 'o"1', "o\\2", "ö's", "o1"]


@pytest.fixture
async def sqlite_path(tmp_path: Path) -> str:
    """A file with an outbox."""
    path = tmp_path / "a.db"
    async with SqliteDatabase(path, migrations=[outbox.MIGRATIONS]):
        return str(path)


@pytest.fixture
async def postgres_outbox(postgres_url: str) -> str:
    """A PostgreSQL database with an outbox."""
    async with PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS]):
        return postgres_url


async def _rows(url: str) -> list[Any]:
    select = "SELECT key, partition, subject, stream, stream_subjects, id, payload, headers, due_at, expires_at "
    select += "FROM carrick_outbox ORDER BY seq"
    if "://" in url:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(select))
        finally:
            await connection.close()
    with closing(sqlite3.connect(url)) as file:
        file.row_factory = sqlite3.Row
        return file.execute(select).fetchall()


def _check(rows: list[Any], keys: list[str], ids: list[str]) -> None:
    """Look at everything that the relay needs."""
    assert [row["key"] for row in rows] == keys
    assert [row["id"] for row in rows] == ids
    for row in rows:
        assert OrderPlaced.FromString(row["payload"]) == OrderPlaced(order_id=row["key"], total=len(row["key"]))
        assert row["partition"] == partition_of(row["key"])
        assert row["subject"] == ORDER_PLACED.subject_of(row["key"])
        assert (row["stream"], row["stream_subjects"]) == ("ORDERS", "orders.>")
        assert json.loads(row["headers"])["ce-id"] == row["id"]
        assert (row["due_at"], row["expires_at"]) == (None, None)


def _event(key: str) -> OrderPlaced:
    return OrderPlaced(order_id=key, total=len(key))


async def _write_and_roll_back(place: Any, url: str) -> None:
    events = Outbox("orders")
    async with place(url) as tx:
        first = await events.write(tx, ORDER_PLACED, _event("o-1"))
        more = await events.write_all(tx, [(ORDER_PLACED, _event(key)) for key in KEYS])
        assert await events.write_all(tx, []) == []
        assert await _rows(url) == []
    with pytest.raises(KeyError):
        async with place(url) as tx:
            await events.write(tx, ORDER_PLACED, _event("o-2"))
            raise KeyError
    _check(await _rows(url), ["o-1", *KEYS], [first, *more])


async def _write_and_roll_back_sync(place: Any, url: str) -> None:
    events = Outbox("orders")
    with place(url) as tx:
        first = events.write_sync(tx, ORDER_PLACED, _event("o-1"))
        more = events.write_all_sync(tx, [(ORDER_PLACED, _event(key)) for key in KEYS])
        assert events.write_all_sync(tx, []) == []
        assert await _rows(url) == []
    with pytest.raises(KeyError), place(url) as tx:
        events.write_sync(tx, ORDER_PLACED, _event("o-2"))
        raise KeyError
    _check(await _rows(url), ["o-1", *KEYS], [first, *more])


@pytest.mark.parametrize("place", ASYNC_SQLITE.values(), ids=ASYNC_SQLITE)
async def test_asynchronous_connections_to_sqlite(place: Any, sqlite_path: str) -> None:
    """Single events and batches are there, in order, if and only if the transaction commits."""
    await _write_and_roll_back(place, sqlite_path)


@pytest.mark.parametrize("place", ASYNC_POSTGRES.values(), ids=ASYNC_POSTGRES)
async def test_asynchronous_connections_to_postgresql(place: Any, postgres_outbox: str) -> None:
    """Single events and batches are there, in order, if and only if the transaction commits."""
    await _write_and_roll_back(place, postgres_outbox)


@pytest.mark.parametrize("place", SYNC_SQLITE.values(), ids=SYNC_SQLITE)
async def test_synchronous_connections_to_sqlite(place: Any, sqlite_path: str) -> None:
    """Single events and batches are there, in order, if and only if the transaction commits."""
    await _write_and_roll_back_sync(place, sqlite_path)


@pytest.mark.parametrize("place", SYNC_POSTGRES.values(), ids=SYNC_POSTGRES)
async def test_synchronous_connections_to_postgresql(place: Any, postgres_outbox: str) -> None:
    """Single events and batches are there, in order, if and only if the transaction commits."""
    await _write_and_roll_back_sync(place, postgres_outbox)


async def test_transactions_of_carrick(sqlite_path: str, postgres_outbox: str) -> None:
    """They are written in as any other."""
    for database, url in (
        (SqliteDatabase(sqlite_path), sqlite_path),
        (PostgresDatabase(postgres_outbox), postgres_outbox),
    ):
        async with database:
            await _write_and_roll_back(lambda _, database=database: database.transaction(), url)
