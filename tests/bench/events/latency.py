"""How long it takes from a commit's return until the event's effect is committed by a consumer.

Orders are placed at fixed times, whether those before are done or not. The consumer is a process of its own, with a
database of its own and an inbox. On SQLite writer and relay share a process, and the outbox wakes the relay; on
PostgreSQL they are two, and a signal does.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Relay
from carrick.store import SyncTransaction
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, PostgresServer
from tests.bench.events.processes import consumer, heard, line, process
from tests.bench.outbox.orders import CREATE, MIGRATIONS, place_now
from tests.bench.outbox.scratch import scratch
from tests.bench.outbox.writer import WARM_UP, Written, place_orders

__all__ = ["CASES", "Latency", "measure"]

CASES = ("postgres", "sqlite")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from commit to effect, and how many events a second were committed."""

    p50: float
    p99: float
    rate: float


def measure(case: str, *, rate: int, seconds: float, postgres: PostgresServer) -> Latency:
    """Place so many orders a second for so long, after a second that does not count."""
    return asyncio.run(_measure(case, rate=rate, seconds=seconds, postgres=postgres))


async def _measure(case: str, *, rate: int, seconds: float, postgres: PostgresServer) -> Latency:
    count = int((WARM_UP + seconds) * rate)
    with scratch() as folder, NatsServer(folder / "nats") as server:
        target = postgres.create_database() if case == "postgres" else str(folder / "handled.db")
        async with consumer(server.url, "bench", "row", target, count, note=True) as consuming:
            if case == "postgres":
                written = await _on_postgres(postgres, server.url, rate, seconds)
            else:
                written = await _on_sqlite(folder / "orders.db", server.url, rate, seconds)
            handled = (await heard(consuming)).handled
        if case == "postgres":
            postgres.drop_database(target)
    return _latency(written, handled, rate)


async def _on_postgres(postgres: PostgresServer, nats_url: str, rate: int, seconds: float) -> Written:
    url = postgres.create_database()
    async with PostgresDatabase(url, migrations=MIGRATIONS) as database, database.transaction() as tx:
        await tx.execute(CREATE)
    async with process("events.relay", url, nats_url) as relaying:
        await line(relaying)
        async with process("outbox.writer", url, str(rate), str(seconds)) as writing:
            written: Written = json.loads(await line(writing))
    postgres.drop_database(url)
    return written


async def _on_sqlite(path: Path, nats_url: str, rate: int, seconds: float) -> Written:
    async with SqliteDatabase(path, migrations=MIGRATIONS) as database, NatsBroker(nats_url, name="relay") as broker:
        async with database.transaction() as tx:
            await tx.execute(CREATE)
        async with Relay(database, broker, observe=ignore) as relay:

            def place_one(tx: SyncTransaction, number: int) -> str:
                tx.after_commit(relay.wake)
                return place_now(tx, number)

            return await place_orders(lambda number: database.run(lambda tx: place_one(tx, number)), rate, seconds)


def _latency(written: Written, handled: dict[str, float], rate: int) -> Latency:
    events = list(written.items())[int(WARM_UP * rate) :]
    late = sorted((handled[event_id] - committed) * 1e3 for event_id, committed in events)
    times = [committed for _, committed in events]
    return Latency(
        p50=late[len(late) // 2],
        p99=late[len(late) * 99 // 100],
        rate=(len(events) - 1) / (max(times) - min(times)),
    )
