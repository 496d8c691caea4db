"""CloudEvents both ways between this framework and programs in Node, over a real JetStream."""

import time
from datetime import datetime
from pathlib import Path

from carrick import outbox, store
from carrick.context import Context, enter
from carrick.messaging import Subscriber, SubscriberOptions
from carrick.messaging.nats import NatsBroker
from carrick.options import HandlingOptions
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.store import Inbox
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_carrick import OrdersEvents, on_order_placed
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced
from tests import node

FAST = SubscriberOptions(ack_wait=1.0, fetch_wait=0.2)
QUICK = HandlingOptions(max_attempts=2, initial_backoff=0.01, max_backoff=0.05)
KEYS = ["k-1", 'ü "2" 50%', "k-3\r\n"]


async def test_node_reads_what_the_outbox_writes(tmp_path: Path, nats_server: NatsServer) -> None:
    """Each event is a CloudEvent by the SDK's own judgement, its payload the contract's, its key's order kept."""
    async with (
        SqliteDatabase(tmp_path / "orders.db", migrations=[outbox.MIGRATIONS]) as database,
        NatsBroker(nats_server.url, name="orders") as broker,
    ):
        relay = Relay(database, broker, options=RelayOptions(poll=0.05))
        events = OrdersEvents(Outbox("/shop/örders", wake=relay.wake))
        began = time.time()
        async with relay:
            for number in range(1, 61):
                with enter(Context(None, correlation_id=f"correlation-{number}", key=f"cause-{number}")):
                    async with database.transaction() as tx:
                        await events.order_placed(tx, _order(KEYS[number % 3], number), expires_in=3600.0)
            await settle(relay)
    read = await node.run("read_events.cjs", nats_server.url, "ORDERS", "60")
    assert sorted(each["data"]["total"] for each in read) == list(range(1, 61))
    for place, key in enumerate(KEYS):
        of_key = [each for each in read if each["data"]["orderId"] == key]
        assert [each["data"]["total"] for each in of_key] == list(range(place or 3, 61, 3))
        assert len({each["subject"] for each in of_key}) == 1
    for each in read:
        attributes, number = each["attributes"], each["data"]["total"]
        assert attributes["type"] == "shop.orders.v1.OrderPlaced"
        assert attributes["source"] == "/shop/%C3%B6rders"
        assert attributes["partitionkey"] == each["data"]["orderId"]
        assert (attributes["correlationid"], attributes["causationid"]) == (f"correlation-{number}", f"cause-{number}")
        assert began - 1 <= _seconds(attributes["time"]) <= time.time()
        assert began + 3599 <= _seconds(attributes["expirytime"]) <= time.time() + 3600
        assert each["data"]["lines"] == [{"sku": "sku-é", "quantity": 2}]


def _order(key: str, number: int) -> OrderPlaced:
    return OrderPlaced(order_id=key, total=number, lines=[OrderLine(sku="sku-é", quantity=2)])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


class Stock:
    """Handles orders, with a database of its own."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.handled: dict[str, Context] = {}

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Have the effect."""
        assert event == OrderPlaced(
            order_id=event.order_id, customer_id="Zoë", lines=[OrderLine(sku="sku-1", quantity=2)], total=4200
        )
        async with self._database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:key)", {"key": event.order_id})
            await tx.handled()
        self.handled[event.order_id] = ctx

    async def effects(self) -> list[str]:
        """All effects, in their order."""
        async with self._database.read() as tx:
            return [row.key for row in (await tx.execute("SELECT key FROM effects ORDER BY rowid")).all()]


GOOD = [
    *["plain", "twice", "other-case", "encoded", "extensions", "traced", "no-id", "no-id-at-all", "no-type"],
    *["no-headers", "by-sdk", "last"],
]
BAD = {
    "bad-bytes": "the payload is no shop.orders.v1.OrderPlaced",
    "bad-content": "the payload is of type 'text/plain', and application/protobuf and application/json are read",
    "bad-json": "the payload is no shop.orders.v1.OrderPlaced: Failed to parse total field",
    "bad-type": "stock handles no events of type 'shop.orders.v1.OrderLost'",
    "bad-version": "it follows CloudEvents '0.3', and 1.0 is read",
    "bad-mode": "it is of CloudEvents' structured mode",
}


async def test_what_node_writes_is_handled_once(tmp_path: Path, nats_server: NatsServer) -> None:
    """Headers in any case, without id or type, JSON of the SDK; what can't be read is put aside, with the reason."""
    async with (
        SqliteDatabase(tmp_path / "stock.db", migrations=[store.MIGRATIONS]) as database,
        NatsBroker(nats_server.url, name="stock") as broker,
    ):
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (key TEXT)")
        await broker.ensure_stream("ORDERS", ["orders.>"])
        written = await node.run("write_events.cjs", nats_server.url)
        stock = Stock(database)
        async with Subscriber(
            "stock", broker, [on_order_placed(stock.handle, handling=QUICK)], inbox=Inbox(database), options=FAST
        ) as subscriber:
            await settle(subscriber)
        assert sorted(await stock.effects()) == sorted(GOOD)
        letters = await _dead_letters(broker, len(BAD))
    assert [each["key"] for each in written if each["duplicate"]] == ["plain"]
    keys = {str(each["sequence"]): each["key"] for each in written if not each["duplicate"]}
    assert sorted(keys[sequence] for sequence in letters) == sorted(BAD)
    for sequence, reason in letters.items():
        assert reason.startswith(BAD[keys[sequence]])
    _check_contexts(stock.handled, {key: sequence for sequence, key in keys.items()})


async def _dead_letters(broker: NatsBroker, most: int) -> dict[str, str]:
    """Return the reasons of all dead letters, by the message's sequence."""
    consumer = await broker.consume("DEADLETTERS", "look", ["deadletter.>"], ack_wait=5, max_in_flight=100)
    found: dict[str, str] = {}
    while deliveries := await consumer.fetch(most + 1, 1.0):
        for each in deliveries:
            found[each.headers["Carrick-Sequence"]] = each.headers["Carrick-Reason"]
            await each.ack()
    return found


def _check_contexts(handled: dict[str, Context], sequences: dict[str, str]) -> None:
    """Ids are those that Node gave, or the broker's; what is not known of an event is in the metadata."""
    for key, ctx in handled.items():
        if key != "no-headers":
            assert ctx.correlation_id == f"correlation-of-{key}"
    ids = {key: ctx.key for key, ctx in handled.items()}
    nameless = {key: f"ORDERS:{sequences[key]}" for key in ("no-id-at-all", "no-headers")}
    assert ids == {key: nameless.get(key, key) for key in handled}
    extensions = dict(handled["extensions"].metadata)
    assert (extensions["ce-tenant"], extensions["ce-dataschema"]) == ("acme", "https://example.com/a#b")
    trace = handled["traced"].trace
    assert trace is not None
    assert trace.trace_id == "a" * 32
