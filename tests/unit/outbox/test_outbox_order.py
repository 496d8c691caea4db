"""In PostgreSQL the events of a key are numbered in the order in which their transactions commit."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from carrick import outbox
from carrick.errors import Code, StoreError
from carrick.event import EventSpec
from carrick.outbox import Outbox
from carrick.outbox.insert import SLOTS, slot_of
from carrick.store.postgres import PostgresDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until

EVENTS = Outbox("orders")


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A PostgreSQL with an outbox."""
    async with PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS], lock_timeout=30.0) as opened:
        yield opened


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _events(*keys: str) -> list[Any]:
    return [(ORDER_PLACED, OrderPlaced(order_id=key)) for key in keys]


async def _waiting(watch: Any, how_many: int = 1) -> bool:
    """Say whether so many sessions wait for a lock of a key."""
    count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
    count += "(SELECT oid FROM pg_database WHERE datname = current_database())"
    return bool(await watch.fetchval(count) == how_many)


async def _keys(watch: Any) -> list[str]:
    return [row["key"] for row in await watch.fetch("SELECT key FROM carrick_outbox ORDER BY seq")]


@pytest.mark.parametrize("batch", [False, True])
async def test_who_writes_a_key_second_commits_second(
    batch: bool, database: PostgresDatabase, postgres_url: str
) -> None:
    """The second writer waits for the first one's commit, and has the higher number; another key does not wait."""

    async def write(name: str, *keys: str) -> None:
        async with _connection(postgres_url) as connection, connection.transaction():
            if batch:
                await EVENTS.write_all(connection, _events(*keys, f"{name} too"))
            else:
                await EVENTS.write_all(connection, _events(*keys))
            order.append(name)

    order: list[str] = []
    async with _connection(postgres_url) as watch, _connection(postgres_url) as first:
        transaction = first.transaction()
        await transaction.start()
        await EVENTS.write(first, ORDER_PLACED, OrderPlaced(order_id="a"))
        second = asyncio.create_task(write("second", "a"))
        await until(lambda: _waiting(watch))
        await write("other", "b")
        assert order == ["other"]
        await EVENTS.write(first, ORDER_PLACED, OrderPlaced(order_id="a"))
        order.append("first")
        await transaction.commit()
        await second
        assert order == ["other", "first", "second"]
        found = await watch.fetch("SELECT key, id FROM carrick_outbox ORDER BY seq")
        keys = [row["key"] for row in found if not row["key"].endswith("too")]
        assert keys == ["a", "b", "a", "a"]


async def test_the_number_is_drawn_behind_the_lock(database: PostgresDatabase, postgres_url: str) -> None:
    """While the second waits, numbers drawn by others are lower than its own, in single events and batches."""
    async with _connection(postgres_url) as watch, _connection(postgres_url) as first:
        for waiters in (_events("a"), _events("x", "a", "y")):
            await watch.execute("TRUNCATE carrick_outbox")
            async with first.transaction():
                await EVENTS.write(first, ORDER_PLACED, OrderPlaced(order_id="a"))

                async def write(events: list[Any] = waiters) -> None:
                    async with database.transaction() as tx:
                        await EVENTS.write_all(tx, events)

                waiting = asyncio.create_task(write())
                await until(lambda: _waiting(watch))
                async with watch.transaction():
                    await EVENTS.write_all(watch, _events("b"))
            await waiting
            assert await _keys(watch) == ["a", "b", *(event.order_id for _, event in waiters)]


async def test_batches_do_not_wait_for_each_other_in_a_ring(database: PostgresDatabase) -> None:
    """Whatever order their keys come in, they are locked in one order."""
    keys = [f"k{number}" for number in range(50)]

    async def write(turn: int) -> None:
        mine = keys[turn:] + keys[:turn]
        async with database.transaction() as tx:
            await EVENTS.write_all(tx, _events(*(mine if turn % 2 else reversed(mine))))

    await asyncio.gather(*(write(turn) for turn in range(40)))
    async with database.read() as tx:
        rows = (await tx.execute("SELECT key, id, seq FROM carrick_outbox ORDER BY seq")).all()
    assert len(rows) == 40 * len(keys)


async def test_a_ring_of_single_events_is_broken(database: PostgresDatabase, postgres_url: str) -> None:
    """Two transactions that write two keys in opposite order, event by event: one of them is aborted."""
    begun = asyncio.Barrier(2)

    async def write(*keys: str) -> None:
        async with database.transaction() as tx:
            await EVENTS.write_all(tx, _events(keys[0]))
            await begun.wait()
            await EVENTS.write_all(tx, _events(keys[1]))

    results = await asyncio.gather(write("a", "b"), write("b", "a"), return_exceptions=True)
    (error,) = [each for each in results if each is not None]
    assert isinstance(error, StoreError)
    assert error.code is Code.ABORTED
    async with _connection(postgres_url) as watch:
        assert sorted(await _keys(watch)) == ["a", "b"]


async def test_thousands_of_keys_are_written_at_once(database: PostgresDatabase, postgres_url: str) -> None:
    """The server's table of locks is large enough, since keys share them."""
    keys = [f"k{number}" for number in range(20_000)]
    assert len({slot_of(key) for key in keys}) > 0.9 * SLOTS
    async with _connection(postgres_url) as watch:
        async with database.transaction() as tx:
            await EVENTS.write_all(tx, _events(*keys))
            locks = await watch.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert locks <= SLOTS
        assert await _keys(watch) == keys


async def test_services_in_schemas_of_their_own_do_not_wait_for_each_other(postgres_url: str) -> None:
    """The same key in another service's outbox is another lock."""
    one = PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS], schema="one")
    two = PostgresDatabase(postgres_url, migrations=[outbox.MIGRATIONS], schema="two")
    async with one, two, one.transaction() as first:
        await EVENTS.write_all(first, _events("a", "b"))
        async with two.transaction() as second:
            await EVENTS.write_all(second, _events("a", "b"))


async def test_events_without_an_order_do_not_wait(database: PostgresDatabase, postgres_url: str) -> None:
    """Whose contract says that order does not matter, locks no key: neither alone nor in a batch."""
    spec = EventSpec(full_name="a.v1.Any", subject="orders.any.v1", key="order_id", message=OrderPlaced, unordered=True)
    async with database.transaction() as first:
        await EVENTS.write_all(first, _events("a"))
        async with _connection(postgres_url) as second, second.transaction():
            await EVENTS.write(second, spec, OrderPlaced(order_id="a"))
            await EVENTS.write_all(second, [(spec, OrderPlaced(order_id="a")), *_events("b")])
            assert await second.fetchval("SELECT count(*) FROM carrick_outbox") == 3


async def test_threads_wait_for_each_other_too(database: PostgresDatabase, postgres_url: str) -> None:
    """Synchronous writers take the same locks as asynchronous ones."""

    def write() -> None:
        with psycopg.connect(postgres_url) as connection, connection.transaction():
            EVENTS.write_all_sync(connection, _events("a"))
            done.set()

    done = threading.Event()
    async with _connection(postgres_url) as watch:
        async with database.transaction() as tx:
            await EVENTS.write_all(tx, _events("a", "b"))
            second = asyncio.create_task(asyncio.to_thread(write))
            await until(lambda: _waiting(watch))
            assert not done.is_set()
        await second
        assert await _keys(watch) == ["a", "b", "a"]
