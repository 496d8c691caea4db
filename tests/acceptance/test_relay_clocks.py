"""Clocks that are set forward and back by hours while relays publish: nothing is lost, doubled, out of turn or stuck.

What relays hold, and when events are due, goes by the database's clock: on SQLite the machine's, on PostgreSQL the
server's. The relays' own must not matter.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay
from carrick.testing import NatsServer, PostgresServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.clocks import HOUR, PostgresWithClock, TimeOfDay, time_of_day
from tests.acceptance.relays import OPTIONS, AnyDatabase, all_published, audit, counts, database_at, shares
from tests.unit.testing.programs import Program, program, until

ME = "tests.acceptance.relays"
OFFSETS = (5 * HOUR, -20 * HOUR, 30 * HOUR, -HOUR)
EACH = int(os.environ.get("CARRICK_STORM_EVENTS", "800")) // len(OFFSETS)
SOON = 20.0
"""Seconds in which events are published after the clock was set: twenty times the relays' lease."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An outbox, and a clock of those that it matters to."""

    where: str
    clock: TimeOfDay
    writers: Mapping[str, str] = field(default_factory=dict)
    relays: Mapping[str, str] = field(default_factory=dict)
    """What writers and relays are started with."""
    databases: bool = True
    """Whether it is the database's."""


@pytest.fixture
def clock() -> Iterator[TimeOfDay]:
    """Return a clock that is right."""
    with time_of_day() as clock:
        yield clock


@pytest.fixture
def server(clock: TimeOfDay) -> Iterator[PostgresServer]:
    """Return a PostgreSQL that goes by the clock."""
    with PostgresWithClock(clock) as server:
        yield server


@pytest.fixture(params=["the machine's, sqlite", "the server's, postgresql", "the relays', postgresql"])
def place(clock: TimeOfDay, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Return an outbox, and who goes by the clock."""
    match request.param:
        case "the machine's, sqlite":
            machine = clock.environment
            return Place(where=str(tmp_path / "outbox.db"), clock=clock, writers=machine, relays=machine)
        case "the server's, postgresql":
            return Place(where=request.getfixturevalue("server").create_database(), clock=clock)
        case _:
            return Place(
                where=request.getfixturevalue("postgres_url"), clock=clock, relays=clock.environment, databases=False
            )


async def _spread(database: AnyDatabase) -> float:
    """Return how many seconds lie between events, by their rows."""
    async with database.read() as tx:
        return float(
            (await tx.execute("SELECT max(created_at) - min(created_at) AS spread FROM carrick_outbox")).scalar_one()
        )


async def _ended(process: Program) -> None:
    async with asyncio.timeout(EACH):
        await asyncio.to_thread(process.wait)


async def test_a_clock_that_is_set_changes_nothing(
    place: Place, nats_server: NatsServer, processes: ExitStack, clock: TimeOfDay
) -> None:
    """Two relays, of which one is killed each time: what it held may last for hours, and nobody waits for that."""

    def relay() -> Program:
        return processes.enter_context(program("-m", ME, "relay", place.where, nats_server.url, env={**place.relays}))

    async with database_at(place.where) as database, NatsBroker(nats_server.url, name="audit") as broker:
        relays = [relay(), relay()]
        for offset in OFFSETS:
            before, _ = await counts(database)
            writing = program("-m", ME, "write", place.where, str(EACH), "20", env={**place.writers})
            writer = processes.enter_context(writing)
            await until(partial(_more_than, database, before + EACH // 4))
            relays.pop(0).kill()
            clock.set(offset)
            relays.append(relay())
            await _ended(writer)
            assert writer.returncode == 0
            await until(partial(all_published, database), timeout=SOON)
            await until(partial(_shared, database), timeout=SOON)
            assert [relay.poll() for relay in relays] == [None, None]
        assert await audit(database, broker) >= EACH * len(OFFSETS)
        assert (await _spread(database) > HOUR) is place.databases


async def _more_than(database: AnyDatabase, count: int) -> bool:
    return (await counts(database))[0] > count


async def _shared(database: AnyDatabase) -> bool:
    return await shares(database) == [8, 8]


async def test_delays_and_expiry_go_by_the_databases_clock(
    server: PostgresServer, clock: TimeOfDay, nats_server: NatsServer
) -> None:
    """Set forward, it ends a delay and lets events expire; set back, it prolongs both. Events without do not care."""
    source = Outbox("orders")
    async with (
        database_at(server.create_database()) as database,
        NatsBroker(nats_server.url, name="relay") as broker,
    ):
        async with database.transaction() as tx:
            await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k", customer_id="delayed"), delay=HOUR)
            await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k", customer_id="offer"), expires_in=HOUR / 2)
            await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k", customer_id="plain"))
        clock.set(HOUR - 60)
        async with Relay(database, broker, options=OPTIONS) as relay:
            await settle(relay)
            assert await _fates(database) == {"delayed": "waits", "offer": "expired", "plain": "published"}
            clock.set(-HOUR)
            async with database.transaction() as tx:
                await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k", customer_id="after"))
            await settle(relay)
            assert (await _fates(database))["after"] == "published"
            assert (await _fates(database))["delayed"] == "waits"
            clock.set(HOUR)
            await until(lambda: relay.processed == 3)
        assert await _fates(database) == {
            "delayed": "published",
            "offer": "expired",
            "plain": "published",
            "after": "published",
        }


async def _fates(database: AnyDatabase) -> dict[str, str]:
    async with database.read() as tx:
        rows = (await tx.execute("SELECT payload, published_at, refusal, due_at FROM carrick_outbox")).all()
    return {
        OrderPlaced.FromString(row.payload).customer_id: row.refusal
        or ("published" if row.published_at else "waits" if row.due_at else "pending")
        for row in rows
    }
