"""From one service's transaction to another's effect: outbox, relay, NATS, subscriber, inbox."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

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
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until

FAST_RELAY = RelayOptions(poll=0.05, backoff=0.05)
FAST = SubscriberOptions(ack_wait=1.0, fetch_wait=0.2, lease=2.0)
QUICK = HandlingOptions(max_attempts=3, initial_backoff=0.01, max_backoff=0.05, timeout=5.0)


class Chain:
    """Orders and stock, each with a database of its own, and NATS between them."""

    def __init__(self, server: NatsServer, orders: SqliteDatabase, stock: SqliteDatabase, broker: NatsBroker) -> None:
        self.server = server
        self.orders = orders
        self.stock = stock
        self.broker = broker
        self.relay = Relay(orders, broker, options=FAST_RELAY)
        self.events = OrdersEvents(Outbox("orders", wake=self.relay.wake))
        self.contexts: list[Context] = []
        self.failures: list[Exception] = []
        self.subscriber = self.new_subscriber()

    def new_subscriber(self) -> Subscriber:
        """Make one more process's worth of subscriber."""
        routes = [replace(on_order_placed(self.handle), handling=QUICK)]
        return Subscriber("stock", self.broker, routes, inbox=Inbox(self.stock), options=FAST)

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Have the effect, or fail as told."""
        self.contexts.append(ctx)
        if self.failures:
            raise self.failures.pop(0)
        async with self.stock.transaction() as tx:
            await tx.execute(
                "INSERT INTO effects VALUES (:key, :number)", {"key": event.order_id, "number": event.total}
            )
            await tx.handled()

    async def place(self, key: str, number: int) -> None:
        """Place an order."""
        async with self.orders.transaction() as tx:
            await self.events.order_placed(tx, OrderPlaced(order_id=key, total=number))

    async def had(self, count: int) -> bool:
        """Say whether there were so many effects."""
        return len(await self.effects()) >= count

    async def effects(self) -> list[tuple[str, int]]:
        """All effects, in their order."""
        async with self.stock.read() as tx:
            return [(row.key, row.number) for row in (await tx.execute("SELECT * FROM effects ORDER BY rowid")).all()]


@pytest.fixture
async def chain(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Chain]:
    """A chain whose parts are not started."""
    async with AsyncExitStack() as parts:
        orders = SqliteDatabase(tmp_path / "orders.db", migrations=[outbox.MIGRATIONS])
        stock = SqliteDatabase(tmp_path / "stock.db", migrations=[store.MIGRATIONS])
        await parts.enter_async_context(orders)
        await parts.enter_async_context(stock)
        async with stock.transaction() as tx:
            await tx.execute("CREATE TABLE effects (key TEXT, number INTEGER)")
        broker = NatsBroker(nats_server.url, name="chain", publish_timeout=0.5)
        await parts.enter_async_context(broker)
        yield Chain(nats_server, orders, stock, broker)


async def test_every_order_has_its_effect_once_and_in_order(chain: Chain) -> None:
    """A hundred orders of ten customers go through the whole chain."""
    async with chain.relay, chain.subscriber:
        for number in range(100):
            await chain.place(f"k{number % 10}", number)
        await settle(chain.relay, chain.subscriber)
    effects = await chain.effects()
    assert sorted(number for _, number in effects) == list(range(100))
    for key in {key for key, _ in effects}:
        numbers = [number for each, number in effects if each == key]
        assert numbers == sorted(numbers)


async def test_ids_travel_through_the_chain(chain: Chain) -> None:
    """The correlation of the call that set it off is the handler's; the call's key is the cause."""
    async with chain.relay, chain.subscriber:
        with enter(Context(None, correlation_id="the-correlation", key="the-key")):
            await chain.place("ü 1", 1)
        await settle(chain.relay, chain.subscriber)
    (ctx,) = chain.contexts
    assert (ctx.correlation_id, ctx.causation_id) == ("the-correlation", "the-key")
    assert dict(ctx.metadata)["ce-partitionkey"] == "%C3%BC%201"


async def test_two_subscribers_take_turns_in_order(chain: Chain) -> None:
    """Processes that share a name share the work, and still nothing overtakes."""
    async with chain.relay, chain.subscriber, chain.new_subscriber() as other:
        for number in range(60):
            await chain.place("k", number)
        await settle(chain.relay, chain.subscriber)
        assert chain.subscriber.processed + other.processed == 60
    assert [number for _, number in await chain.effects()] == list(range(60))


async def test_the_chain_survives_a_restart_of_nats(chain: Chain) -> None:
    """Orders placed before, during and after an outage have their effect once, in order, without a restart of ours."""
    async with chain.relay, chain.subscriber:
        for number in range(10):
            await chain.place("k", number)
        chain.server.kill()
        for number in range(10, 20):
            await chain.place("k", number)
        chain.server.start()
        for number in range(20, 30):
            await chain.place("k", number)
        await until(lambda: chain.had(30))
        await settle(chain.relay, chain.subscriber)
    assert [number for _, number in await chain.effects()] == list(range(30))


async def test_the_chain_survives_the_loss_of_the_consumer(chain: Chain, tmp_path: Path) -> None:
    """A server that came back empty gets stream and consumer again; what was handled is not handled twice."""
    async with chain.relay, chain.subscriber:
        await chain.place("k", 0)
        await settle(chain.relay, chain.subscriber)
        chain.server.kill()
        with NatsServer(tmp_path / "empty") as other:
            other.stop()
            other.port = chain.server.port
            other.start()
            await chain.place("k", 1)
            await until(lambda: chain.had(2))
    assert await chain.effects() == [("k", 0), ("k", 1)]


async def test_poison_ends_in_the_dead_letters_on_nats(chain: Chain) -> None:
    """The message with its headers and the reason is in the stream DEADLETTERS, and the next order is handled."""
    chain.failures = [KeyError("poison"), KeyError("poison"), KeyError("ü\r\n")]
    async with chain.relay, chain.subscriber:
        await chain.place("k", 0)
        await chain.place("k", 1)
        await settle(chain.relay, chain.subscriber)
    assert await chain.effects() == [("k", 1)]
    letters = await chain.broker.consume("DEADLETTERS", "look", ["deadletter.stock.>"], ack_wait=5, max_in_flight=1)
    (letter,) = await letters.fetch(1, 5.0)
    assert OrderPlaced.FromString(letter.data) == OrderPlaced(order_id="k", total=0)
    assert letter.headers["ce-type"] == "shop.orders.v1.OrderPlaced"
    assert letter.headers["Carrick-Reason"] == r"failed 3 times, at last with KeyError: 'ü\r\n'"
    assert letter.headers["Carrick-Sequence"] == "1"


async def test_a_stop_hands_over_at_once(chain: Chain) -> None:
    """Events that wait in a subscriber are taken by another without waiting for ``ack_wait`` or for a lease."""
    patient = SubscriberOptions(ack_wait=3600.0, lease=3600.0, fetch_wait=0.2)
    chain.failures = [KeyError("once")]
    handling = HandlingOptions(initial_backoff=3600.0, max_backoff=3600.0)
    routes = [replace(on_order_placed(chain.handle), handling=handling)]
    first = Subscriber("stock", chain.broker, routes, inbox=None, options=patient)
    async with chain.relay:
        await chain.place("k", 0)
        async with first:
            await until(lambda: bool(chain.contexts))
        async with chain.subscriber:
            await settle(chain.relay, chain.subscriber)
    assert await chain.effects() == [("k", 0)]
