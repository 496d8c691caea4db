"""What writing an event adds to a transaction, and what a batch costs: `python -m tests.bench.outbox_writing`.

32 connections of asyncpg's, each with transactions that insert a row of business, without and with an event behind it,
round by round. Then one transaction with a batch of events, in one statement and with the same rows by executemany.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from rich.console import Console

from carrick import outbox
from carrick.event import EventSpec
from carrick.outbox import Outbox
from carrick.outbox.insert import _ONE
from carrick.store._parameters import numbered
from carrick.store.postgres import PostgresDatabase
from carrick.testing import PostgresServer
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.bench.report import row, show, write

_CONNECTIONS = 32
_BUSINESS = "INSERT INTO business (name, amount) VALUES ($1, $2)"
_EVENTS = Outbox("orders")
_UNORDERED = EventSpec(
    full_name="shop.orders.v1.OrderPlaced",
    subject="orders.placed.v1",
    key="order_id",
    message=OrderPlaced,
    unordered=True,
)

Unit = Callable[[Any, int], Awaitable[None]]


async def _nothing(connection: Any, number: int) -> None:
    async with connection.transaction():
        await connection.execute(_BUSINESS, "a", number)


async def _event(connection: Any, number: int) -> None:
    async with connection.transaction():
        await connection.execute(_BUSINESS, "a", number)
        await _EVENTS.write(connection, ORDER_PLACED, OrderPlaced(order_id=f"order-{number}"))


async def _unordered(connection: Any, number: int) -> None:
    async with connection.transaction():
        await connection.execute(_BUSINESS, "a", number)
        await _EVENTS.write(connection, _UNORDERED, OrderPlaced(order_id=f"order-{number}"))


async def _second_row(connection: Any, number: int) -> None:
    async with connection.transaction():
        await connection.execute(_BUSINESS, "a", number)
        await connection.execute(_BUSINESS, "b" * 300, number)


CASES: dict[str, Unit] = {
    "business row": _nothing,
    "and a second row": _second_row,
    "and an event": _event,
    "and an event without order": _unordered,
}


async def _rate(connections: list[Any], unit: Unit, seconds: float) -> float:
    """Return transactions a second."""
    numbers = iter(range(10**9))
    done = 0
    end = time.perf_counter() + seconds

    async def work(connection: Any) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await unit(connection, next(numbers))
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*map(work, connections))
    return done / (time.perf_counter() - began)


async def _batch(connection: Any, size: int) -> float:
    events = [(ORDER_PLACED, OrderPlaced(order_id=f"order-{number}")) for number in range(size)]
    began = time.perf_counter()
    async with connection.transaction():
        await _EVENTS.write_all(connection, events)
    return size / (time.perf_counter() - began)


async def _executemany(connection: Any, size: int) -> float:
    """Write the same rows with the statement of single events, pipelined by the driver."""
    sql, names = numbered(_ONE.postgresql)
    began = time.perf_counter()
    given = []
    for number in range(size):
        event = OrderPlaced(order_id=f"order-{number}")
        to = _Kept()
        _EVENTS.write_sync(to, ORDER_PLACED, event)  # type: ignore[arg-type]  # only what it would run
        given.append([to.parameters[name] for name in names])
    async with connection.transaction():
        await connection.executemany(sql, given)
    return size / (time.perf_counter() - began)


class _Kept:
    dialect = "postgresql"

    def execute(self, statement: str, parameters: Any) -> None:
        self.parameters = parameters

    def after_commit(self, action: object) -> None: ...


async def _measure(server: PostgresServer, *, rounds: int, seconds: float) -> dict[str, list[float]]:
    url = server.create_database()
    async with PostgresDatabase(url, migrations=[outbox.MIGRATIONS]):
        pass
    connections = [await asyncpg.connect(url) for _ in range(_CONNECTIONS)]
    await connections[0].execute(
        "CREATE TABLE business (id BIGINT GENERATED ALWAYS AS IDENTITY, name TEXT, amount BIGINT)"
    )
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 1):  # the first one warms up
        for name, unit in CASES.items():
            rate = await _rate(connections, unit, seconds)
            if turn:
                found.setdefault(name, []).append(rate)
        for size in (100, 1000):
            for name, batch in (("one statement", _batch), ("executemany", _executemany)):
                rate = await batch(connections[0], size)
                if turn:
                    found.setdefault(f"{size} events, {name}", []).append(rate)
        await connections[0].execute("TRUNCATE carrick_outbox, business")
    for connection in connections:
        await connection.close()
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    quick = parser.parse_args().quick
    with PostgresServer(settings={"max_connections": "60"}) as server:
        found = asyncio.run(_measure(server, rounds=1 if quick else 7, seconds=0.2 if quick else 2.0))
    rows = [
        row(name, "rate", "events/s" if "events" in name else "transactions/s", values)
        for name, values in found.items()
    ]
    medians = {each["case"]: float(str(each["median"])) for each in rows}
    ratios = {
        "event_vs_none": medians["and an event"] / medians["business row"],
        "event_vs_second_row": medians["and an event"] / medians["and a second row"],
        "batch_vs_executemany": medians["1000 events, one statement"] / medians["1000 events, executemany"],
    }
    show(Console(), rows, ratios)
    write("outbox-writing", rows, ratios)


if __name__ == "__main__":
    main()
