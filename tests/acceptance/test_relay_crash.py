"""The outbox through crashes: the stream holds every committed event exactly once, in order, and nothing else.

Writer and relay are processes (this file run as a program), killed with SIGKILL; NATS is real, and killed or frozen.
"""

import asyncio
import random
import sys
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from carrick import outbox
from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import Program, program, until

OPTIONS = RelayOptions(poll=0.02, backoff=0.1, batch=50, lease=1.5)
ME = "tests.acceptance.test_relay_crash"


async def _open(path: Path) -> SqliteDatabase:
    database = SqliteDatabase(path, migrations=[outbox.MIGRATIONS])
    await database.open()
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY)")
    return database


async def _order(database: SqliteDatabase, name: str, number: int) -> None:
    """Write an order and its one or two events; every fifth order fails at its end and must leave nothing."""
    async with database.transaction() as tx:
        order_id = f"{name}-{number}"
        await tx.execute("INSERT INTO orders VALUES (:id)", {"id": order_id})
        for _ in range(1 + number % 2):
            event = OrderPlaced(order_id=f"k{random.randrange(12)}", customer_id=order_id)
            await Outbox("orders").write(tx, ORDER_PLACED, event)
        if number % 5 == 4:
            raise KeyError(order_id)


async def _write(path: Path, name: str) -> None:
    """Write orders until killed."""
    database = await _open(path)
    print("ready", flush=True)
    for number in range(1_000_000):
        try:
            await _order(database, name, number)
        except KeyError:
            await asyncio.sleep(0.002)


async def _relay(path: Path, url: str) -> None:
    """Relay until killed."""
    database = await _open(path)
    async with NatsBroker(url, name="relay") as broker, Relay(database, broker, options=OPTIONS):
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _hold(path: Path) -> None:
    """Write an order and its event, and never commit."""
    database = await _open(path)
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO orders VALUES ('held')")
        await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="k", customer_id="held"))
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _ready(process: Program) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = await asyncio.to_thread(process.stdout.readline)
    if line != "ready\n":
        process.kill()
        raise AssertionError(process.communicate()[1])


async def _audit(database: SqliteDatabase, broker: NatsBroker) -> int:
    """Compare orders, outbox and stream; return how many events there are."""
    async with database.read() as tx:
        rows = (await tx.execute("SELECT id, partition, payload FROM carrick_outbox ORDER BY seq")).all()
        orders = {row.id for row in (await tx.execute("SELECT id FROM orders")).all()}
    expected = Counter({order: 1 + int(order.rpartition("-")[2]) % 2 for order in orders})
    assert Counter(OrderPlaced.FromString(row.payload).customer_id for row in rows) == expected
    committed: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        committed[row.partition].append(row.id)
    consumer = await broker.consume("ORDERS", "audit", ["orders.>"], ack_wait=30, max_in_flight=10_000)
    stored: dict[int, list[str]] = defaultdict(list)
    while await consumer.pending():
        for delivery in await consumer.fetch(200, 1.0):
            stored[int(delivery.subject.rpartition(".p")[2])].append(delivery.headers["ce-id"])
            await delivery.ack()
    assert stored == committed
    return len(rows)


async def _drain_and_audit(path: Path, url: str) -> int:
    """Let a last relay finish, then compare."""
    async with AsyncExitStack() as parts:
        database = await parts.enter_async_context(SqliteDatabase(path, migrations=[outbox.MIGRATIONS]))
        broker = await parts.enter_async_context(NatsBroker(url, name="audit"))
        relay = await parts.enter_async_context(Relay(database, broker, options=OPTIONS))
        await settle(relay, timeout=20)
        return await _audit(database, broker)


async def test_a_writer_killed_in_a_transaction_leaves_nothing(tmp_path: Path) -> None:
    """Neither the order nor its event is there after SIGKILL, and the next writer is not held up."""
    path = tmp_path / "shop.db"
    with program("-m", ME, "hold", str(path)) as writer:
        await _ready(writer)
        writer.kill()
        writer.wait()
    database = await _open(path)
    async with database.transaction() as tx:
        assert (await tx.execute("SELECT * FROM orders")).all() == []
        assert (await tx.execute("SELECT * FROM carrick_outbox")).all() == []
    await database.close()


async def test_killed_relays_and_writers_lose_and_double_nothing(tmp_path: Path, nats_server: NatsServer) -> None:
    """Relays die at any moment while a writer writes, and at last the writer dies too."""
    path = tmp_path / "shop.db"
    await (await _open(path)).close()
    with program("-m", ME, "write", str(path), "w") as writer:
        await _ready(writer)
        for _ in range(4):
            with program("-m", ME, "relay", str(path), nats_server.url) as relay:
                await _ready(relay)
                await asyncio.sleep(random.uniform(0.02, 0.5))
                relay.kill()
                relay.wait()
        assert writer.poll() is None
        writer.kill()
        writer.wait()
    assert await _drain_and_audit(path, nats_server.url) > 100


def _went_on(relay: Relay, processed: int) -> bool:
    return relay.processed > processed


async def _write_here(database: SqliteDatabase, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        try:
            await _order(database, "here", number)
        except KeyError:
            await asyncio.sleep(0.005)
        number += 1


async def test_a_killed_nats_loses_and_doubles_nothing(tmp_path: Path, nats_server: NatsServer) -> None:
    """The server dies three times in the middle of publishing, and comes back with its store."""
    path = tmp_path / "shop.db"
    database = await _open(path)
    stop = asyncio.Event()
    async with NatsBroker(nats_server.url, name="relay", publish_timeout=0.5) as broker:
        relay = Relay(database, broker, options=OPTIONS)
        async with relay:
            writing = asyncio.create_task(_write_here(database, stop))
            for _ in range(3):
                before = relay.processed
                await until(partial(_went_on, relay, before + 20))
                await asyncio.sleep(random.uniform(0.0, 0.1))
                nats_server.kill()
                await asyncio.sleep(random.uniform(0.0, 0.3))
                nats_server.start()
            stop.set()
            await writing
            await settle(relay, timeout=20)
    await database.close()
    assert await _drain_and_audit(path, nats_server.url) > 60


async def test_a_frozen_nats_loses_and_doubles_nothing(tmp_path: Path, nats_server: NatsServer) -> None:
    """Publishes time out while the server stands still; what was on the wire is stored, what is repeated is not."""
    path = tmp_path / "shop.db"
    database = await _open(path)
    stop = asyncio.Event()
    async with NatsBroker(nats_server.url, name="relay", publish_timeout=0.4) as broker:
        relay = Relay(database, broker, options=OPTIONS)
        async with relay:
            writing = asyncio.create_task(_write_here(database, stop))
            await until(lambda: relay.processed > 20)
            nats_server.freeze()
            await asyncio.sleep(2.5)
            nats_server.thaw()
            before = relay.processed
            await until(lambda: relay.processed > before + 20)
            stop.set()
            await writing
            await settle(relay, timeout=20)
    await database.close()
    assert await _drain_and_audit(path, nats_server.url) > 40


async def test_a_nats_that_lost_its_store_gets_what_comes(tmp_path: Path, nats_server: NatsServer) -> None:
    """The stream is created again without a restart of the relay, and later events are in it."""
    path = tmp_path / "shop.db"
    database = await _open(path)
    async with NatsBroker(nats_server.url, name="relay", publish_timeout=0.5) as broker:
        relay = Relay(database, broker, options=OPTIONS)
        async with relay:
            await _order(database, "first", 0)
            await settle(relay)
            nats_server.kill()
            with NatsServer(tmp_path / "empty") as other:
                other.stop()
                other.port = nats_server.port
                other.start()
                await _order(database, "second", 0)
                await settle(relay)
                consumer = await broker.consume("ORDERS", "audit", ["orders.>"], ack_wait=30, max_in_flight=10)
                (delivery,) = await consumer.fetch(10, 5.0)
                assert OrderPlaced.FromString(delivery.data).customer_id == "second-0"
    await database.close()


def _main(task: str, *arguments: str) -> None:
    path = Path(arguments[0])
    match task:
        case "write":
            asyncio.run(_write(path, arguments[1]))
        case "relay":
            asyncio.run(_relay(path, arguments[1]))
        case "hold":
            asyncio.run(_hold(path))


if __name__ == "__main__":
    _main(*sys.argv[1:])
