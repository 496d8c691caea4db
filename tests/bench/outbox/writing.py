"""What writing an event adds to a transaction on PostgreSQL: transactions a second at 32 connections.

``none`` has the order's row only, ``event`` writes its event too, ``signal`` also tells relays of the commit; with
``statement`` an empty statement is in the place of the event, which no event can beat that has a round trip of its own.
The ``usual`` ones take from the stock and write the order's lines as well. The ``asyncpg`` ones leave Carrick out: a
bare connection of a pool, and the event as a row that is ready-made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeAlias

import asyncpg

from carrick.outbox import Outbox
from carrick.store.postgres import PostgresDatabase
from carrick.store.postgres_signal import PostgresSignal
from carrick.testing import PostgresServer
from tests.bench.outbox.orders import CREATE, MIGRATIONS, event_row, order_row, place

__all__ = ["SIDES", "write"]

One: TypeAlias = Callable[[int], Awaitable[None]]

_CONNECTIONS = 32
_WARM_UP = 0.5
_ORDER = "INSERT INTO orders (id, customer, total) VALUES ($1, $2, $3)"
_STOCK = 1000
_USUAL = (
    "CREATE TABLE stock (sku INTEGER PRIMARY KEY, pieces INTEGER NOT NULL)",
    f"INSERT INTO stock SELECT sku, 1000000 FROM generate_series(0, {_STOCK - 1}) AS sku",  # a number
    "CREATE TABLE lines (order_id TEXT, line INTEGER, sku INTEGER, PRIMARY KEY (order_id, line))",
)
_EVENT = """
INSERT INTO carrick_outbox (id, stream, stream_subjects, subject, partition, key, payload, headers, created_at)
VALUES ($1, 'ORDERS', 'orders.>', $2, $3, $4, $5, $6, extract(epoch FROM clock_timestamp())::float8)
"""


def write(side: str, *, seconds: float, postgres: PostgresServer) -> float:
    """Write to new tables for so long; return transactions a second."""
    return asyncio.run(_write(side, seconds=seconds, postgres=postgres))


async def _write(side: str, *, seconds: float, postgres: PostgresServer) -> float:
    url = postgres.create_database()
    async with PostgresDatabase(url, migrations=MIGRATIONS, writers=_CONNECTIONS) as database:
        async with database.transaction() as tx:
            for statement in (CREATE, *_USUAL):
                await tx.execute(statement)
        async with SIDES[side](database, url) as one:
            numbers = count()
            await _run(one, numbers, _WARM_UP)
            rate = await _run(one, numbers, seconds)
        async with database.read() as tx:
            orders = (await tx.execute("SELECT count(*) FROM orders")).scalar_one()
            events = (await tx.execute("SELECT count(*) FROM carrick_outbox")).scalar_one()
        assert orders == next(numbers), orders
        assert events == (orders if side.endswith(("event", "signal")) else 0), (events, orders)
    postgres.drop_database(url)
    return rate


async def _run(one: One, numbers: "count[int]", seconds: float) -> float:
    done = 0
    began = time.perf_counter()

    async def writer() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await one(next(numbers))
            done += 1

    await asyncio.gather(*(writer() for _ in range(_CONNECTIONS)))
    return done / (time.perf_counter() - began)


def _carrick(database: PostgresDatabase, outbox: Outbox | None) -> One:
    async def one(number: int) -> None:
        async with database.transaction() as tx:
            await place(tx, outbox, number)

    return one


@asynccontextmanager
async def _none(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    yield _carrick(database, None)


@asynccontextmanager
async def _event(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    yield _carrick(database, Outbox("orders"))


@asynccontextmanager
async def _signal(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    async with PostgresSignal(url) as signal:
        yield _carrick(database, Outbox("orders", wake=signal.send))


@asynccontextmanager
async def _statement(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    async def one(number: int) -> None:
        async with database.transaction() as tx:
            await place(tx, None, number)
            await tx.execute("SELECT :number", {"number": str(number)})

    yield one


def _usual(database: PostgresDatabase, outbox: Outbox | None) -> One:
    async def one(number: int) -> None:
        sku = number % _STOCK
        async with database.transaction() as tx:
            await tx.execute("UPDATE stock SET pieces = pieces - 1 WHERE sku = :sku AND pieces > 0", {"sku": sku})
            lines = [{"id": f"order-{number:08d}", "line": line, "sku": sku} for line in (1, 2)]
            await tx.execute("INSERT INTO lines (order_id, line, sku) VALUES (:id, :line, :sku)", lines)
            await place(tx, outbox, number)

    return one


@asynccontextmanager
async def _usual_none(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    yield _usual(database, None)


@asynccontextmanager
async def _usual_event(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    yield _usual(database, Outbox("orders"))


@asynccontextmanager
async def _asyncpg_none(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    async with asyncpg.create_pool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:

        async def one(number: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(_ORDER, *order_row(number).values())

        yield one


@asynccontextmanager
async def _asyncpg_event(database: PostgresDatabase, url: str) -> AsyncIterator[One]:
    async with asyncpg.create_pool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:

        async def one(number: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(_ORDER, *order_row(number).values())
                await connection.execute(_EVENT, *event_row(number).values())

        yield one


SIDES: Mapping[str, Callable[[PostgresDatabase, str], Any]] = {
    "none": _none,
    "event": _event,
    "signal": _signal,
    "statement": _statement,
    "usual_none": _usual_none,
    "usual_event": _usual_event,
    "asyncpg_none": _asyncpg_none,
    "asyncpg_event": _asyncpg_event,
}
