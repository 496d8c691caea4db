"""What consumers of other kits get wrong, each tried here: hot loops, lost messages, leases that nobody renews."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from carrick import store
from carrick.context import Context
from carrick.errors import CarrickError, Code
from carrick.event import partition_of
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.nats import NatsBroker
from carrick.observe import ignore
from carrick.options import HandlingOptions
from carrick.route import EventRoute
from carrick.store import Inbox
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import NatsServer, settle
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.consumers import HANDLED, Published
from tests.unit.testing.programs import until

_OPTIONS = SubscriberOptions(ack_wait=1.0, lease=1.0, fetch_wait=0.2)
_HANDLING = HandlingOptions(max_attempts=5, initial_backoff=0.1, max_backoff=0.4)
_ALL_FINE = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Stock:
    """A handler that counts its calls and does what it is told, and its subscriber."""

    def __init__(self, database: SqliteDatabase, broker: NatsBroker) -> None:
        self.broker = broker
        self.calls = Counter[int]()
        self.effects: list[int] = []
        self.slow = 0.0
        self.error: Exception | None = None
        self._database = database

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Take the time, then fail or have the effect."""
        self.calls[event.total] += 1
        await asyncio.sleep(self.slow)
        if self.error is not None:
            raise self.error
        async with self._database.transaction() as tx:
            await tx.handled()
        self.effects.append(event.total)

    def subscriber(self, *, safe: bool = True, handling: HandlingOptions = _HANDLING) -> Subscriber:
        """Return a subscriber with an inbox and parked events, or without."""
        handler = self.handle if safe else self._unsafe
        routes = [EventRoute(HANDLED, handler, handling=handling)]
        inbox = Inbox(self._database) if safe else None
        return Subscriber("stock", self.broker, routes, inbox=inbox, options=_OPTIONS, observe=ignore)

    async def publish(self, count: int) -> None:
        """Publish events of one key."""
        await Published().publish(self.broker, count, keys=1, specs=(HANDLED,), weights=_ALL_FINE)

    async def _unsafe(self, event: OrderPlaced, ctx: Context) -> None:
        self.calls[event.total] += 1
        if self.error is not None:
            raise self.error
        self.effects.append(event.total)


@pytest.fixture
async def stock(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Stock]:
    """Return a handler at a broker and a database of its own."""
    async with (
        SqliteDatabase(tmp_path / "stock.db", migrations=[store.MIGRATIONS]) as database,
        NatsBroker(nats_server.url, name="stock") as broker,
    ):
        yield Stock(database, broker)


@pytest.mark.parametrize("safe", [True, False], ids=["parked", "in memory"])
async def test_what_fails_is_not_tried_in_a_hot_loop(stock: Stock, *, safe: bool) -> None:
    """In two seconds an event is tried as often as its waits allow, and what comes behind it not at all."""
    stock.error = CarrickError(Code.UNAVAILABLE, "away")
    await stock.publish(5)
    async with stock.subscriber(safe=safe):
        await until(lambda: stock.calls[1] > 0)
        await asyncio.sleep(2.0)
        assert 4 <= stock.calls[1] <= 2 + 2.0 / (_HANDLING.max_backoff / 2)
        assert list(stock.calls) == [1]


@pytest.mark.parametrize("safe", [True, False], ids=["parked", "in memory"])
async def test_a_raise_loses_nothing(stock: Stock, *, safe: bool) -> None:
    """Neither the first nor a later one, as long as it may be tried again: then it has its effect, in its turn."""
    stock.error = KeyError("a bug")
    await stock.publish(5)
    async with stock.subscriber(safe=safe, handling=replace(_HANDLING, max_attempts=1000)) as subscriber:
        await until(lambda: stock.calls[1] >= 3)
        stock.error = None
        await settle(subscriber)
    assert stock.effects == [1, 2, 3, 4, 5]


async def test_an_outage_makes_no_dead_letters(stock: Stock) -> None:
    """However many attempts it costs: more than a bug of the handler's own would be allowed."""
    stock.error = CarrickError(Code.UNAVAILABLE, "away")
    await stock.publish(3)
    quick = replace(_HANDLING, initial_backoff=0.01, max_backoff=0.02)
    async with stock.subscriber(handling=quick) as subscriber:
        await until(lambda: stock.calls[1] > 3 * quick.max_attempts)
        stock.error = None
        await settle(subscriber)
    assert stock.effects == [1, 2, 3]
    assert await stock.broker.holding("DEADLETTERS") is None


async def test_a_slow_handler_keeps_what_it_handles(stock: Stock) -> None:
    """Over several waits of the broker, and leases, each event is delivered and handled once, with others to take it.

    Those that wait behind it are kept as well.
    """
    stock.slow = 2.5
    place = f"stock-p{partition_of('k0'):02d}"
    await stock.publish(2)
    async with stock.subscriber() as subscriber, stock.subscriber() as another:
        while len(stock.effects) < 2:
            there = await stock.broker.place("ORDERS", place)
            assert there is None or there.redelivered == 0
            await asyncio.sleep(0.05)
        await settle(subscriber, another, timeout=20)
    assert stock.calls == {1: 1, 2: 1}


async def test_a_message_that_can_not_be_read_is_no_hot_loop(stock: Stock, nats_server: NatsServer) -> None:
    """It is a dead letter at once, and delivered once."""
    await stock.broker.ensure_stream("ORDERS", ["orders.>"])
    subject = HANDLED.subject_of("k")
    await stock.broker.publish(Message(stream="ORDERS", subject=subject, id="1", data=b"\xff\xff no event"))
    async with stock.subscriber() as subscriber:
        await settle(subscriber)
    letters = await stock.broker.read("DEADLETTERS", "deadletter.stock.>", 0, 10)
    assert [letter.headers["Carrick-Deliveries"] for letter in letters] == ["1"]
    assert stock.calls == {}
