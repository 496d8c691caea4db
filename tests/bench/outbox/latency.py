"""How long it takes from a commit's return until the broker has acknowledged the event.

Orders are placed at fixed times, whether those before are done or not. On SQLite writer and relay share a process, and
the outbox wakes the relay; on PostgreSQL the writer is a process of its own, and a signal does. ``sqlite_run`` writes
by ``database.run``, which carries more transactions a second than ``database.transaction``.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from carrick.messaging.contract import Message
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Outbox, Relay
from carrick.store import SyncTransaction
from carrick.store.postgres import PostgresDatabase
from carrick.store.postgres_signal import PostgresSignal
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, PostgresServer
from tests.bench.outbox.orders import CREATE, MIGRATIONS, place_now
from tests.bench.outbox.scratch import scratch
from tests.bench.outbox.writer import WARM_UP, Written, in_transaction, place_orders

__all__ = ["CASES", "Latency", "measure"]

CASES = ("postgres", "sqlite", "sqlite_run")
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from commit to acknowledgement, and how many events a second were committed."""

    p50: float
    p99: float
    rate: float


class _Watched(NatsBroker):
    """Notes when each message was acknowledged."""

    acknowledged: dict[str, float]

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        last = await super().append(messages, expected)
        now = time.monotonic()
        self.acknowledged.update((message.id, now) for message in messages)
        return last


def measure(case: str, *, rate: int, seconds: float, postgres: PostgresServer) -> Latency:
    """Place so many orders a second for so long, after a second that does not count."""
    return asyncio.run(_measure(case, rate=rate, seconds=seconds, postgres=postgres))


async def _measure(case: str, *, rate: int, seconds: float, postgres: PostgresServer) -> Latency:
    with scratch() as folder, NatsServer(folder / "nats") as server:
        async with _broker(server.url) as broker:
            if case.startswith("sqlite"):
                async with SqliteDatabase(folder / "orders.db", migrations=MIGRATIONS) as sqlite:
                    written = await _on_sqlite(sqlite, broker, rate, seconds, grouped=case == "sqlite_run")
            else:
                url = postgres.create_database()
                async with PostgresDatabase(url, migrations=MIGRATIONS) as database:
                    written = await _on_postgres(database, url, broker, rate, seconds)
                postgres.drop_database(url)
            return _latency(written, broker.acknowledged, rate)


@asynccontextmanager
async def _broker(url: str) -> AsyncIterator[_Watched]:
    async with _Watched(url, name="bench") as broker:
        broker.acknowledged = {}
        yield broker


async def _on_sqlite(
    database: SqliteDatabase, broker: NatsBroker, rate: int, seconds: float, *, grouped: bool
) -> Written:
    async with database.transaction() as tx:
        await tx.execute(CREATE)
    async with Relay(database, broker, observe=ignore) as relay:
        if grouped:
            place_one = _in_groups(database, relay.wake)
        else:
            place_one = in_transaction(database, Outbox("orders", wake=relay.wake))
        written = await place_orders(place_one, rate, seconds)
        await _published(relay, written)
    return written


def _in_groups(database: SqliteDatabase, wake: Callable[[], None]) -> Callable[[int], Awaitable[str]]:
    def one(tx: SyncTransaction, number: int) -> str:
        tx.after_commit(wake)
        return place_now(tx, number)

    return lambda number: database.run(partial(one, number=number))


async def _on_postgres(database: PostgresDatabase, url: str, broker: NatsBroker, rate: int, seconds: float) -> Written:
    async with database.transaction() as tx:
        await tx.execute(CREATE)
    relay, signal = Relay(database, broker, observe=ignore), PostgresSignal(url)
    signal.listen(relay.wake)
    async with signal, relay:
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.outbox.writer", url, str(rate), str(seconds)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            said, _ = await writer.communicate()
        finally:
            if writer.returncode is None:
                writer.kill()
        assert writer.returncode == 0, writer.returncode
        written: Written = json.loads(said)
        await _published(relay, written)
    return written


async def _published(relay: Relay, written: Written) -> None:
    async with asyncio.timeout(_PATIENCE):
        while relay.processed < len(written):  # noqa: ASYNC110  # what would tell would be measured too
            await asyncio.sleep(0.05)


def _latency(written: Written, acknowledged: Mapping[str, float], rate: int) -> Latency:
    events = list(written.items())[int(WARM_UP * rate) :]
    late = sorted((acknowledged[event_id] - committed) * 1e3 for event_id, committed in events)
    times = [committed for _, committed in events]
    return Latency(
        p50=late[len(late) // 2],
        p99=late[len(late) * 99 // 100],
        rate=(len(events) - 1) / (max(times) - min(times)),
    )
