"""The subscriber: each event handed over in order until its effect is committed or it is put aside, never dropped."""

# ruff: noqa: PT012  # what raises is the end of a block, not one statement

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest

from carrick.clock import SystemClock
from carrick.context import Context, current
from carrick.errors import (
    CarrickError,
    Code,
    ConfigurationError,
    DeadlineError,
    MessagingError,
    RejectedError,
    StoreError,
    TransportError,
)
from carrick.event import EventSpec
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.observe import EventDeadLettered, EventHandlingFailed, EventTooLate, Observation
from carrick.options import HandlingOptions
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED, apply_order_placed, on_order_placed
from shop.orders.v1.orders_pb2 import GetOrderResponse, OrderPlaced
from tests.unit.testing.programs import until

Handler: TypeAlias = Callable[[OrderPlaced, Context], Awaitable[None]]

FAST = SubscriberOptions(fetch_wait=0.05, ack_wait=5.0, lease=1.0, poll=0.2)
QUICK = HandlingOptions(max_attempts=3, initial_backoff=0.001, max_backoff=0.004)


class Shop:
    """A database with a table of effects, a broker, and what was observed."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.broker = MemoryBroker()
        self.inbox = Inbox(database)
        self.seen: list[Observation] = []

    def subscriber(
        self,
        handler: Handler,
        *,
        inbox: bool = True,
        options: SubscriberOptions = FAST,
        handling: HandlingOptions = QUICK,
        grace: float = 5.0,
    ) -> Subscriber:
        """Make a subscriber of one handler."""
        return Subscriber(
            "stock",
            self.broker,
            [replace(on_order_placed(handler), handling=handling)],
            inbox=self.inbox if inbox else None,
            options=options,
            observe=self.seen.append,
            grace=grace,
        )

    async def publish(self, *names: str, key: str = "k", **headers: str) -> None:
        """Publish one event a name, all of one key; its id has the name."""
        for name in names:
            envelope = Envelope(id=f"id-{name}", source="orders", correlation_id="corr", causation_id="cause", key=key)
            await self.raw(
                OrderPlaced(order_id=name).SerializeToString(),
                key=key,
                msg_id=f"id-{name}",
                **{**headers_for(ORDER_PLACED, envelope, time=0.0), **headers},
            )

    async def raw(self, data: bytes, *, key: str = "raw", msg_id: str | None = None, **headers: str) -> None:
        """Publish any bytes."""
        await self.broker.ensure_stream("ORDERS", ["orders.>"])
        message = Message(
            stream="ORDERS", subject=ORDER_PLACED.subject_of(key), id=msg_id or f"id-{key}", data=data, headers=headers
        )
        await self.broker.publish(message)

    async def effect(self, event: OrderPlaced) -> None:
        """Do what a handler does: an effect and the receipt in one transaction."""
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:id)", {"id": event.order_id})
            await tx.handled()

    async def effects(self) -> list[str]:
        """All effects, in their order."""
        async with self.database.read() as tx:
            return [row.id for row in (await tx.execute("SELECT id FROM effects ORDER BY rowid")).all()]

    def dead(self) -> list[Message]:
        """The dead letters."""
        try:
            return self.broker.messages("DEADLETTERS")
        except MessagingError:
            return []


@pytest.fixture
async def shop(database: SqliteDatabase) -> Shop:
    """An empty shop."""
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE effects (id TEXT)")
    return Shop(database)


class Failing:
    """A handler that raises these errors first, one a call, then has its effect."""

    def __init__(self, shop: Shop, *errors: Exception) -> None:
        self.shop = shop
        self.errors = list(errors)
        self.calls: list[str] = []

    async def __call__(self, event: OrderPlaced, ctx: Context) -> None:
        """Handle an event."""
        self.calls.append(event.order_id)
        if self.errors:
            raise self.errors.pop(0)
        await self.shop.effect(event)


async def test_events_are_handled_in_order(shop: Shop) -> None:
    """Each event goes to its handler, decoded, one after the other, and is settled."""
    await shop.publish("a", "b", "c")
    async with shop.subscriber(Failing(shop)) as subscriber:
        await settle(subscriber)
        assert await shop.effects() == ["a", "b", "c"]
        assert subscriber.processed == 3
        assert await subscriber.pending() == 0
    assert shop.dead() == []


async def test_the_context_is_the_events(shop: Shop) -> None:
    """Ids, key, deadline and headers of the event are the handler's context, and the current one."""
    contexts: list[Context] = []

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        contexts.append(ctx)
        assert current() is ctx
        await shop.effect(event)

    await shop.publish("a", **{"X-Tenant": "acme"})
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
    (ctx,) = contexts
    assert (ctx.correlation_id, ctx.causation_id, ctx.key, ctx.method) == ("corr", "cause", "id-a", None)
    assert ctx.deadline is not None
    assert dict(ctx.metadata)["x-tenant"] == "acme"
    assert all(name == name.lower() for name, _ in ctx.metadata)


async def test_an_event_delivered_again_has_one_effect(shop: Shop) -> None:
    """The stream may hold an event twice: the second is settled without its handler being asked."""
    handler = Failing(shop)
    await shop.publish("a")
    await shop.raw(
        OrderPlaced(order_id="a").SerializeToString(), key="a", msg_id="other", **{"ce-id": "id-a", "ce-type": ""}
    )
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
        assert subscriber.processed == 2
    assert await shop.effects() == handler.calls == ["a"]


async def test_two_at_the_same_event_have_one_effect(shop: Shop) -> None:
    """A process that gives a partition back while it hangs in one of its events: the second effect is undone."""
    both, arrived = asyncio.Event(), 0

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 2:
            both.set()
        await both.wait()
        await shop.effect(event)

    await shop.publish("a")
    quick = replace(FAST, ack_wait=0.1)
    first, second = (shop.subscriber(handler, options=quick, grace=0.1) for _ in range(2))
    async with first:
        await until(lambda: arrived == 1)
        async with second:
            await until(lambda: first.processed + second.processed == 2)
    assert arrived == 2
    assert await shop.effects() == ["a"]
    assert shop.dead() == []


async def test_a_failed_event_is_tried_again_in_its_place(shop: Shop) -> None:
    """Nothing overtakes an event that fails at first."""
    handler = Failing(shop, KeyError("one"), ValueError("two"))
    await shop.publish("a", "b")
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
    assert handler.calls == ["a", "a", "a", "b"]
    assert await shop.effects() == ["a", "b"]
    failed = [each for each in shop.seen if isinstance(each, EventHandlingFailed)]
    assert [(each.attempt, each.reason) for each in failed] == [(1, "KeyError: 'one'"), (2, "ValueError: two")]
    assert {(each.consumer, each.event_type, each.event_id) for each in failed} == {
        ("stock", "shop.orders.v1.OrderPlaced", "id-a")
    }


async def test_an_unexpected_error_is_logged_with_its_traceback(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a handler can be found; an outage makes no such noise."""
    await shop.publish("a")
    handler = Failing(shop, StoreError(Code.UNAVAILABLE, "locked"), KeyError("mistake"))
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
    assert caplog.text.count("Traceback") == 1
    assert "stock: the handler of shop.orders.v1.OrderPlaced failed" in caplog.text
    assert "KeyError: 'mistake'" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        TransportError(Code.UNAVAILABLE, "away"),
        StoreError(Code.UNAVAILABLE, "locked"),
        StoreError(Code.RESOURCE_EXHAUSTED, "no turn"),
        RejectedError(Code.UNAVAILABLE, "circuit open"),
        DeadlineError("too late"),
        CarrickError(Code.ABORTED, "taken over"),
        MessagingError(Code.UNAVAILABLE, "no NATS"),
    ],
    ids=repr,
)
async def test_an_outage_burns_no_attempt(shop: Shop, error: CarrickError) -> None:
    """However long something else is away, the event is not put aside for it."""
    handler = Failing(shop, *[error] * 20, KeyError("its own"), *[error] * 5, KeyError("its own"))
    await shop.publish("a")
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
    assert len(handler.calls) == 28
    assert await shop.effects() == ["a"]
    assert shop.dead() == []


async def test_poison_goes_to_the_dead_letters(shop: Shop) -> None:
    """After ``max_attempts`` of its own failures an event makes way, kept with bytes, headers and reason."""
    await shop.publish("a", "b", **{"X-Tenant": "acme"})
    handler = Failing(shop, *[KeyError("poison\n in two lines")] * 3)
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
        assert subscriber.processed == 2
    assert handler.calls == ["a", "a", "a", "b"]
    assert await shop.effects() == ["b"]
    (dead,) = shop.dead()
    original = shop.broker.messages("ORDERS")[0]
    assert dead.subject == f"deadletter.stock.{original.subject}"
    assert dead.data == original.data
    assert dead.headers == {
        **original.headers,
        "Carrick-Reason": r"failed 3 times, at last with KeyError: 'poison\n in two lines'",
        "Carrick-Consumer": "stock",
        "Carrick-Stream": "ORDERS",
        "Carrick-Sequence": "1",
        "Carrick-Subject": original.subject,
        "Carrick-Deliveries": "3",
        "Carrick-Attempts": "3",
        "Carrick-Stack": dead.headers["Carrick-Stack"],
    }
    (observed,) = [each for each in shop.seen if isinstance(each, EventDeadLettered)]
    assert (observed.consumer, observed.subject, observed.sequence) == ("stock", original.subject, 1)
    assert observed.reason.startswith("failed 3 times")


async def test_a_message_that_is_no_event_goes_to_the_dead_letters_at_once(shop: Shop) -> None:
    """What can't be parsed will never be: the handler is not asked, nothing is repeated."""
    handler = Failing(shop)
    await shop.raw(b"\xff\xff\xff", **{"ce-type": "shop.orders.v1.OrderPlaced", "ce-id": "bad"})
    await shop.publish("a")
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
    assert handler.calls == ["a"]
    (dead,) = shop.dead()
    assert dead.data == b"\xff\xff\xff"
    assert dead.headers["Carrick-Reason"].startswith("the payload is no shop.orders.v1.OrderPlaced: ")
    assert not [each for each in shop.seen if isinstance(each, EventHandlingFailed)]


async def test_an_unknown_type_goes_to_the_dead_letters(shop: Shop) -> None:
    """An event of a type without handler is kept, not skipped."""
    await shop.publish("a", **{"ce-type": "shop.orders.v9.OrderPlaced"})
    async with shop.subscriber(Failing(shop)) as subscriber:
        await settle(subscriber)
    (dead,) = shop.dead()
    assert dead.headers["Carrick-Reason"] == "stock handles no events of type 'shop.orders.v9.OrderPlaced'"


async def test_without_a_type_the_subject_tells(shop: Shop) -> None:
    """A publisher that knows nothing of CloudEvents can be heard."""
    await shop.raw(OrderPlaced(order_id="a").SerializeToString(), key="a")
    async with shop.subscriber(Failing(shop)) as subscriber:
        await settle(subscriber)
    assert await shop.effects() == ["a"]
    assert await shop.inbox.holds("stock", "id-a")


async def test_hostile_headers_do_not_stop_the_consumer(shop: Shop) -> None:
    """Headers that nobody should send end in an event or a dead letter, and the next event is handled."""
    await shop.publish("a", **{"ce-id": "x" * 5000, "ce-correlationid": "\x00\r\n", "traceparent": "00-zz"})
    await shop.publish("b", **{"ce-type": "%0D%0A" * 300})
    await shop.publish("c", **{"ce-type": "a%0D%0ACarrick-Reason: b"})
    await shop.publish("d")
    async with shop.subscriber(Failing(shop)) as subscriber:
        await settle(subscriber)
    assert await shop.effects() == ["a", "b", "d"]
    (dead,) = shop.dead()
    assert "\n" not in dead.headers["Carrick-Reason"]


class NoDeadLetters(MemoryBroker):
    """A broker whose stream of dead letters takes nothing for a while."""

    refusing = True

    async def publish(self, message: Message) -> None:
        """Refuse dead letters."""
        if self.refusing and message.stream == "DEADLETTERS":
            raise MessagingError(Code.UNAVAILABLE, "no room")
        await super().publish(message)


async def test_without_dead_letters_the_message_stays(shop: Shop) -> None:
    """While the dead letter can't be written the message is not settled, nothing overtakes it, nothing runs hot."""
    shop.broker = broker = NoDeadLetters()
    handler = Failing(shop)
    await shop.raw(b"\xff\xff\xff", key="k", **{"ce-partitionkey": "k"})
    await shop.publish("a")
    subscriber = shop.subscriber(handler, options=replace(FAST, fetch_wait=0.05, ack_wait=0.2))
    async with subscriber:
        await asyncio.sleep(0.5)
        assert subscriber.processed == 0
        assert await subscriber.pending() == 2
        assert handler.calls == []
        broker.refusing = False
        await settle(subscriber)
    assert [dead.data for dead in shop.dead()] == [b"\xff\xff\xff"]
    assert await shop.effects() == ["a"]


async def test_a_failing_handler_is_not_called_hot(shop: Shop) -> None:
    """Between attempts there is a growing pause of at most ``max_backoff`` and at least half of it."""
    await shop.publish("a")
    handler = Failing(shop, *[KeyError()] * 7)
    handling = HandlingOptions(max_attempts=10, initial_backoff=0.001, max_backoff=0.004)
    async with shop.subscriber(handler, handling=handling) as subscriber:
        await settle(subscriber)
    delays = [each.delay for each in shop.seen if isinstance(each, EventHandlingFailed)]
    for delay, bound in zip(delays, [0.001, 0.002, 0.004, 0.004, 0.004, 0.004, 0.004], strict=True):
        assert bound / 2 <= delay <= bound


async def test_a_missing_handled_fails_loudly(shop: Shop) -> None:
    """A handler that forgot ``tx.handled()`` would have its effect twice one day: it fails from the first day on."""
    calls: list[str] = []

    async def forgetful(event: OrderPlaced, ctx: Context) -> None:
        calls.append(event.order_id)

    await shop.publish("a")
    async with shop.subscriber(forgetful) as subscriber:
        await settle(subscriber)
    (dead,) = shop.dead()
    assert "call `await tx.handled()`" in dead.headers["Carrick-Reason"]
    assert calls == ["a"], "its effect may be committed, and was repeated"


async def test_a_rolled_back_handled_does_not_count(shop: Shop) -> None:
    """A handler that swallows the failure of its transaction has not handled the event."""

    async def swallowing(event: OrderPlaced, ctx: Context) -> None:
        with pytest.raises(KeyError):
            async with shop.database.transaction() as tx:
                await tx.handled()
                raise KeyError

    await shop.publish("a")
    async with shop.subscriber(swallowing) as subscriber:
        await settle(subscriber)
    assert len(shop.dead()) == 1


async def test_without_an_inbox_delivery_is_at_least_once(shop: Shop) -> None:
    """No receipt is asked for, and ``tx.handled()`` says what is missing."""
    calls: list[str] = []

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        calls.append(event.order_id)
        if event.order_id == "b":
            await shop.effect(event)

    await shop.publish("a", "b")
    async with shop.subscriber(handler, inbox=False) as subscriber:
        await settle(subscriber)
    assert calls == ["a", "b", "b", "b"]
    (dead,) = shop.dead()
    assert "tx.handled() is for handlers of events whose subscriber has an inbox" in dead.headers["Carrick-Reason"]


async def test_what_fails_after_the_commit_is_settled(shop: Shop) -> None:
    """An error behind the transaction brings no second effect: the inbox knows."""
    calls: list[str] = []

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        calls.append(event.order_id)
        await shop.effect(event)
        raise KeyError("after the commit")

    await shop.publish("a")
    async with shop.subscriber(handler) as subscriber:
        await settle(subscriber)
        assert subscriber.processed == 1
    assert await shop.effects() == calls == ["a"]


async def test_a_handler_that_takes_too_long_is_cancelled(shop: Shop) -> None:
    """After ``timeout`` the attempt has failed, its transaction is rolled back, and the next one starts."""
    attempts = 0

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        nonlocal attempts
        attempts += 1
        async with shop.database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:id)", {"id": event.order_id})
            await tx.handled()
            if attempts == 1:
                await asyncio.Event().wait()

    await shop.publish("a")
    handling = HandlingOptions(timeout=0.2, initial_backoff=0.001)
    async with shop.subscriber(handler, handling=handling) as subscriber:
        await settle(subscriber)
    assert attempts == 2
    assert await shop.effects() == ["a"]
    (failed,) = [each for each in shop.seen if isinstance(each, EventHandlingFailed)]
    assert failed.reason.startswith("TimeoutError")


async def test_a_slow_handler_keeps_its_event(shop: Shop) -> None:
    """Longer than ``ack_wait`` is no reason to give the event to another: the delivery is renewed meanwhile."""
    calls: list[str] = []

    async def slow(event: OrderPlaced, ctx: Context) -> None:
        calls.append(event.order_id)
        await asyncio.sleep(0.8)
        await shop.effect(event)

    await shop.publish("a")
    options = replace(FAST, ack_wait=0.2, fetch_wait=0.05)
    first, second = shop.subscriber(slow, options=options), shop.subscriber(slow, options=options)
    async with first, second:
        await until(lambda: first.processed + second.processed == 1)
        await settle(first, second)
    assert calls == ["a"]


async def test_the_event_is_kept_through_pauses_too(shop: Shop) -> None:
    """While an event waits for its next attempt nothing of its key overtakes it, in whichever process."""
    handler = Failing(shop, KeyError("once"))
    other = Failing(shop)
    await shop.publish("a", "b")
    options, handling = replace(FAST, ack_wait=0.2), HandlingOptions(initial_backoff=0.8)
    first = shop.subscriber(handler, options=options, handling=handling)
    async with first:
        await until(lambda: handler.calls == ["a"])
        async with shop.subscriber(other, options=options, handling=handling):
            await settle(first)
    assert handler.calls + other.calls == ["a", "a", "b"]
    assert await shop.effects() == ["a", "b"]


async def test_a_stop_while_an_event_waits_hands_it_back(shop: Shop) -> None:
    """Without a database, an event between two attempts goes back to the broker at once, not after ``ack_wait``."""
    calls: list[str] = []

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        calls.append(event.order_id)
        if len(calls) == 1:
            raise KeyError("once")

    await shop.publish("a", "b")
    options = replace(FAST, ack_wait=3600.0)
    patient = HandlingOptions(initial_backoff=3600.0, max_backoff=3600.0)
    async with shop.subscriber(handler, inbox=False, options=options, handling=patient):
        await until(lambda: any(isinstance(each, EventHandlingFailed) for each in shop.seen))
    async with shop.subscriber(handler, inbox=False) as again:
        await settle(again)
    assert calls == ["a", "a", "b"]


async def test_a_stop_lets_the_handler_finish(shop: Shop) -> None:
    """The event under way has its effect and is settled."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        begun.set()
        await may_end.wait()
        await shop.effect(event)

    await shop.publish("a", "b")
    subscriber = shop.subscriber(handler)
    async with subscriber:
        await begun.wait()
        asyncio.get_running_loop().call_later(0.02, may_end.set)
    assert await shop.effects() == ["a"]
    assert subscriber.processed == 1


async def test_a_stop_does_not_wait_for_ever(shop: Shop) -> None:
    """After ``grace`` the handler is cancelled, its transaction rolled back, and the event comes again."""
    begun = asyncio.Event()

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        async with shop.database.transaction() as tx:
            await tx.handled()
            begun.set()
            await asyncio.Event().wait()

    await shop.publish("a")
    options = replace(FAST, ack_wait=0.2, fetch_wait=0.05)
    async with shop.subscriber(handler, options=options, grace=0.05):
        await begun.wait()
    async with shop.subscriber(Failing(shop), options=options) as again:
        await settle(again)
    assert await shop.effects() == ["a"]


async def test_a_broker_that_is_away_is_waited_for(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber started during an outage begins when it is over."""
    await shop.publish("a")
    shop.broker.available = False
    async with shop.subscriber(Failing(shop)) as subscriber:
        await until(lambda: "subscriber stock" in caplog.text)
        shop.broker.available = True
        await until(lambda: subscriber.processed == 1)
    assert await shop.effects() == ["a"]


async def test_several_events_share_a_stream(shop: Shop) -> None:
    """One subscriber may have many routes of one stream, and each event finds its own."""
    shipped = EventSpec(
        full_name="shop.orders.v1.OrderShipped", subject="orders.shipped.v1", key="order_id", message=GetOrderResponse
    )
    calls: list[tuple[str, str]] = []

    async def on_placed(event: OrderPlaced, ctx: Context) -> None:
        calls.append(("placed", event.order_id))

    async def on_shipped(event: GetOrderResponse, ctx: Context) -> None:
        calls.append(("shipped", event.order_id))

    routes: Sequence[EventRoute[Any]] = [on_order_placed(on_placed), EventRoute(shipped, on_shipped)]
    await shop.publish("a")
    await shop.broker.publish(
        Message(
            stream="ORDERS",
            subject=shipped.subject_of("a"),
            id="s",
            data=GetOrderResponse(order_id="a").SerializeToString(),
        )
    )
    async with Subscriber("s", shop.broker, routes, inbox=None, options=FAST) as subscriber:
        await settle(subscriber)
    assert calls == [("placed", "a"), ("shipped", "a")]


def test_routes_of_two_streams_are_refused() -> None:
    """A subscriber reads one stream: the message says to make another subscriber."""
    other = EventSpec(full_name="a.v1.B", subject="payments.done.v1", key="order_id", message=OrderPlaced)

    async def handler(event: OrderPlaced, ctx: Context) -> None:
        pass

    with pytest.raises(ConfigurationError, match="needs routes of exactly one stream and has ORDERS, PAYMENTS; make"):
        Subscriber("s", MemoryBroker(), [on_order_placed(handler), EventRoute(other, handler)], inbox=None)
    with pytest.raises(ConfigurationError, match="has none"):
        Subscriber("s", MemoryBroker(), [], inbox=None)


@pytest.mark.parametrize("name", ["ack_wait", "fetch_wait", "lease", "poll"])
def test_times_are_checked(name: str) -> None:
    """No time may be zero or less."""
    with pytest.raises(ConfigurationError, match=f"{name} must be above 0 seconds, not -1"):
        SubscriberOptions(**{name: -1})


@pytest.mark.parametrize("name", ["concurrency", "group", "max_in_flight", "max_bytes", "max_parked"])
def test_numbers_are_checked(name: str) -> None:
    """Nothing can be done without any."""
    with pytest.raises(ConfigurationError, match=f"{name} must be 1 or more, not 0"):
        SubscriberOptions(**{name: 0})


class Dated(SystemClock):
    """A clock whose date is set by hand."""

    now = 1_700_000_000.0

    def wall(self) -> float:
        """Return the date that was set."""
        return self.now


def expiring(at: float) -> dict[str, str]:
    """Return the header of an event that is of use until then."""
    return {"ce-expirytime": datetime.fromtimestamp(at, UTC).isoformat()}


@pytest.mark.parametrize("applies", [False, True])
async def test_an_event_whose_time_is_over_is_not_handled(shop: Shop, applies: bool) -> None:
    """It is settled and observed, and the later ones of its key go on."""
    clock = Dated()

    async def apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        await tx.execute("INSERT INTO effects VALUES (:id)", {"id": event.order_id})

    route = apply_order_placed(apply) if applies else on_order_placed(Failing(shop))
    await shop.publish("late", **expiring(clock.wall() - 1))
    await shop.publish("early", **expiring(clock.wall() + 60))
    await shop.publish("any")
    subscriber = Subscriber(
        "stock", shop.broker, [route], inbox=shop.inbox, options=FAST, clock=clock, observe=shop.seen.append
    )
    async with subscriber:
        await settle(subscriber)
        assert (subscriber.counts.handled, subscriber.counts.expired, subscriber.processed) == (2, 1, 3)
    assert await shop.effects() == ["early", "any"]
    (late,) = [each for each in shop.seen if isinstance(each, EventTooLate)]
    assert (late.consumer, late.event_id, late.event_type) == ("stock", "id-late", ORDER_PLACED.full_name)


async def test_a_parked_event_whose_time_is_over_is_not_handled(shop: Shop) -> None:
    """Its time may end while it waits for another try; what waited behind it is handled then."""
    clock = Dated()
    handler = Failing(shop, ValueError("no"))

    async def failing(event: OrderPlaced, ctx: Context) -> None:
        clock.now += 1.0
        await handler(event, ctx)

    await shop.publish("late", **expiring(clock.wall() + 1))
    await shop.publish("next")
    subscriber = Subscriber(
        "stock",
        shop.broker,
        [on_order_placed(failing, handling=QUICK)],
        inbox=shop.inbox,
        options=FAST,
        clock=clock,
        observe=shop.seen.append,
    )
    async with subscriber:
        await settle(subscriber)
        assert (subscriber.counts.handled, subscriber.counts.expired) == (1, 1)
    assert handler.calls == ["late", "next"]
    assert await shop.effects() == ["next"]
    assert [each.event_id for each in shop.seen if isinstance(each, EventTooLate)] == ["id-late"]
