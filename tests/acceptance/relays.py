"""Relays and writers as processes that die or stand still at a chosen moment."""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import psutil
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from carrick import outbox
from carrick.errors import MessagingError, StoreError
from carrick.event import EventSpec
from carrick.messaging import Consumer
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.outbox import Outbox, Relay, RelayOptions, table
from carrick.outbox.publishing import Publishing
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import Program, until

__all__ = [
    "FORGETS_IDS_AFTER",
    "MOMENTS",
    "OPTIONS",
    "AnyDatabase",
    "all_published",
    "around",
    "audit",
    "counts",
    "database_at",
    "make_stream",
    "shares",
    "stands_still",
    "write",
    "write_each",
]

OPTIONS = RelayOptions(poll=0.02, backoff=0.1, batch=50, lease=1.0)
FORGETS_IDS_AFTER = 0.1
"""Seconds for which :func:`make_stream`'s stream knows duplicates by their ids."""
MOMENTS = (
    "after sharing",
    "after reading",
    "before sending",
    "while sending",
    "after the acknowledgement",
    "before the commit",
    "after the commit",
)
ANOTHER = EventSpec(full_name="a.v1.Other", subject="orders.another.v1", key="order_id", message=OrderPlaced)

AnyDatabase = SqliteDatabase | PostgresDatabase


def database_at(where: str) -> AnyDatabase:
    """Return a database, to be opened, by its path or URL."""
    if where.startswith("postgresql:"):
        return PostgresDatabase(where, migrations=[outbox.MIGRATIONS])
    return SqliteDatabase(Path(where), migrations=[outbox.MIGRATIONS])


async def make_stream(url: str, *, atomic: bool = True) -> None:
    """Make a stream that hardly remembers ids, as after an outage longer than its window for duplicates."""
    client = await nats.connect(url)
    await client.jetstream().add_stream(
        StreamConfig(
            name="ORDERS",
            subjects=["orders.>"],
            storage=StorageType.FILE,
            duplicate_window=FORGETS_IDS_AFTER,
            allow_atomic=atomic,
        )
    )
    await client.close()


async def write(database: AnyDatabase, count: int, keys: int = 20) -> None:
    """Write events in transactions of one to seven, of two kinds, and now and then a transaction that fails."""
    source, done = Outbox("orders"), 0
    while done < count:
        size = min(random.randint(1, 7), count - done)
        try:
            async with database.transaction() as tx:
                for number in range(size):
                    event = OrderPlaced(order_id=f"k{random.randrange(keys)}", total=done + number)
                    await source.write(tx, random.choice((ORDER_PLACED, ANOTHER)), event)
                if random.random() < 0.1:
                    raise KeyError
        except KeyError:
            continue
        except StoreError:  # a server that is killed meanwhile may have committed
            await asyncio.sleep(0.1)
            continue
        done += size


async def write_each(database: AnyDatabase, keys: int = 20) -> int:
    """Write an event of either kind for each key; return how many."""
    async with database.transaction() as tx:
        for number in range(keys):
            for kind in (ORDER_PLACED, ANOTHER):
                await Outbox("orders").write(tx, kind, OrderPlaced(order_id=f"k{number}"))
    return 2 * keys


async def counts(database: AnyDatabase) -> tuple[int, int]:
    """Return how many events there are, and how many of them are published."""
    async with database.read() as tx:
        row = (await tx.execute("SELECT count(*) AS n, count(published_at) AS published FROM carrick_outbox")).first()
    assert row is not None
    return row.n, row.published


async def all_published(database: AnyDatabase) -> bool:
    """Say whether every event is."""
    written, published = await counts(database)
    return written == published


async def shares(database: AnyDatabase) -> list[int]:
    """Return how many partitions each relay holds that holds some, or has held them last."""
    async with database.read() as tx:
        found = await tx.execute("SELECT count(*) AS held FROM carrick_outbox_lease WHERE owner <> '' GROUP BY owner")
        return [row.held for row in found.all()]


async def audit(database: AnyDatabase, broker: NatsBroker) -> int:
    """Compare the table with the stream: all marked, each stored once, in order for its key. Return how many."""
    async with database.read() as tx:
        rows = (await tx.execute("SELECT id, key, published_at FROM carrick_outbox ORDER BY seq")).all()
    assert [row.id for row in rows if row.published_at is None] == []
    written, stored = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for row in rows:
        written[row.key].append(row.id)
    messages: dict[int, tuple[str, str]] = {}  # by their places: one that is delivered again is no second one
    consumer, holding = await _consumer(broker), await broker.holding("ORDERS")
    assert holding is not None
    try:
        async with asyncio.timeout(60):  # what is pending says too little: a consumer may be behind its stream
            while len(messages) < holding.messages:
                for delivery in await consumer.fetch(500, 1.0):
                    key = OrderPlaced.FromString(delivery.data).order_id
                    messages[delivery.sequence] = key, delivery.headers["ce-id"]
                    await delivery.ack()
    except TimeoutError:
        raise AssertionError(f"{len(messages)} of {holding.messages} messages could be read") from None
    for _, (key, event_id) in sorted(messages.items()):
        stored[key].append(event_id)
    differences = _differences(written, stored)
    assert not differences, "\n".join(differences)
    return len(rows)


async def _consumer(broker: NatsBroker) -> Consumer:
    """Consume the stream from its beginning, as soon as it has a leader that says so."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await broker.consume(
                    "ORDERS", f"audit-{os.urandom(4).hex()}", ["orders.>"], ack_wait=30, max_in_flight=10_000
                )
            except MessagingError:
                await asyncio.sleep(0.2)


def _differences(written: dict[str, list[str]], stored: dict[str, list[str]]) -> list[str]:
    """Say in words in what the stream is not what was written."""
    found = []
    for key in sorted({*written, *stored}):
        was, there = written.get(key, []), stored.get(key, [])
        found += [f"{key}: {each} is lost" for each in was if each not in there]
        found += [f"{key}: {each} was never written" for each in there if each not in was]
        found += [f"{key}: {each} is stored {there.count(each)} times" for each in was if there.count(each) > 1]
        if not found and was != there:
            found.append(f"{key}: the order is {[was.index(each) for each in there]}")
    return found


async def _relay(where: str, url: str) -> None:
    """Relay until killed."""
    async with database_at(where) as database, NatsBroker(url, name="relay", publish_timeout=0.6) as broker:
        relay = Relay(database, broker, options=OPTIONS, observe=ignore)
        await relay.start()
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _write(where: str, count: str, keys: str = "1000") -> None:
    async with database_at(where) as database:
        print("ready", flush=True)
        await write(database, int(count), int(keys))


async def stands_still(process: Program) -> None:
    """Wait until a process that :func:`_arm` has armed was stopped."""
    await until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, timeout=30)


def _arm(moment: str, number: int, what: signal.Signals) -> None:
    """Have this process send itself a signal when a moment comes for that time."""
    left = number

    def now() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), what)

    match moment:
        case "after sharing":
            around(Relay, "_share", after=now)
        case "after reading":
            around(table, "pending", after=now)
        case "before sending":
            around(NatsBroker, "append", before=now)
        case "while sending":
            left = 1
            _in_the_middle(20 * number, now)
        case "after the acknowledgement":
            around(NatsBroker, "append", after=now)
        case "without an acknowledgement":
            around(NatsBroker, "append", failed=now)
        case "before the commit":
            around(table, "mark", after=now)
        case "after the commit":
            around(Publishing, "_mark", after=now)


def _in_the_middle(messages: int, now: Callable[[], None]) -> None:
    """Have a number of messages sent, and half of what is sent with the last of them; then call ``now``, once."""
    send, left = Client._send_command, messages

    async def in_halves(client: Client, command: bytes, priority: bool = False) -> None:
        nonlocal left
        before, left = left, left - command.count(b"HPUB orders.")
        if before > 0 >= left:
            half = len(command) // 2
            await send(client, command[:half], priority)
            await client._flush_pending(force_flush=True)
            now()
            command = command[half:]
        await send(client, command, priority)

    setattr(Client, "_send_command", in_halves)  # noqa: B010  # mypy knows that a method is none to be assigned to


def _nothing() -> None: ...


def around(
    owner: Any,
    name: str,
    *,
    before: Callable[[], None] = _nothing,
    after: Callable[[], None] = _nothing,
    failed: Callable[[], None] = _nothing,
) -> None:
    """Have functions called before and after a method, and when the broker fails it."""
    original = getattr(owner, name)

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        before()
        try:
            result = await original(*arguments, **named)
        except MessagingError:
            failed()
            raise
        after()
        return result

    setattr(owner, name, wrapped)


def _main(task: str, where: str, *arguments: str) -> None:
    if task == "write":
        asyncio.run(_write(where, *arguments))
        return
    if len(arguments) > 1:
        _arm(arguments[1], int(arguments[2]), signal.Signals[arguments[3]])
    asyncio.run(_relay(where, arguments[0]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
