"""A replay: a consumer's events of a range once more, in order, each with one effect."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from carrick.context import Context
from carrick.errors import Code, ConfigurationError, PermanentError, StoreError
from carrick.messaging import Message, Replay, ReplayProgress, Subscriber
from carrick.options import HandlingOptions
from carrick.route import EventRoute
from carrick.store import Inbox, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import FakeClock, MemoryBroker
from shop.orders.v1.orders_carrick import ORDER_PLACED, on_order_placed
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.letters import publish_orders
from tests.unit.testing.programs import until

NAME = ORDER_PLACED.full_name
QUICK = HandlingOptions(max_attempts=3, initial_backoff=0.001, max_backoff=0.004)


class Stand:
    """A database with effects, a broker with a clock of its own, and what the handler was given."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.clock = FakeClock(autojump=True)
        self.broker = MemoryBroker(self.clock)
        self.inbox = Inbox(database)
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Have an effect, once."""
        name = f"{event.order_id}{event.total}"
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]
        async with self.database.transaction() as tx:
            await tx.execute("INSERT INTO effects VALUES (:id)", {"id": name})
            await tx.handled()

    def subscriber(self, *, inbox: bool = True, route: EventRoute[Any] | None = None, **options: Any) -> Subscriber:
        """Make a subscriber of the handler."""
        route = route or replace(on_order_placed(self.handle), handling=replace(QUICK, **options))
        return Subscriber("stock", self.broker, [route], inbox=self.inbox if inbox else None, clock=self.clock)

    async def effects(self) -> list[str]:
        """All effects, in their order."""
        async with self.database.read() as tx:
            return [row.id for row in (await tx.execute("SELECT id FROM effects ORDER BY rowid")).all()]


@pytest.fixture
async def stand(database: SqliteDatabase) -> Stand:
    """Six events of two keys."""
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE effects (id TEXT)")
    stand = Stand(database)
    await publish_orders(stand.broker, *"ababab")
    return stand


async def test_events_are_handled_in_the_order_of_the_stream(stand: Stand) -> None:
    """Each once, without a place in the stream; done again, everything is passed over."""
    found = await stand.subscriber().replay(1).run()
    assert await stand.effects() == ["a0", "b1", "a2", "b3", "a4", "b5"]
    assert (found.handled, found.position, found.end, found.finished) == ({NAME: 6}, 6, 6, True)
    again = await stand.subscriber().replay(1).run()
    assert (again.handled.total(), again.passed_over) == (0, 6)
    assert len(await stand.effects()) == 6
    assert await stand.broker.place("ORDERS", "stock-p00") is None


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 2, "01"), (5, None, "45"), (3, 3, "2"), (0, 99, "012345"), (7, None, ""), (4, 2, "")],
)
async def test_a_range_of_sequences(stand: Stand, first: int, last: int | None, expected: str) -> None:
    """Both ends are included; what is not there is no error."""
    found = await stand.subscriber().replay(first, last).run()
    assert "".join(call[1] for call in stand.calls) == expected
    assert found.finished


async def test_a_range_of_times(database: SqliteDatabase, stand: Stand) -> None:
    """From a moment on, and before another, also where messages are gone."""
    broker, clock = MemoryBroker(stand.clock), stand.clock
    stand.broker = broker
    times = []
    for number in range(8):
        clock.advance(60.0)
        times.append(datetime.fromtimestamp(clock.wall(), UTC))
        await broker.ensure_stream("ORDERS", ["orders.>"])
        data = OrderPlaced(order_id="k", total=number).SerializeToString()
        subject = ORDER_PLACED.subject_of("k")
        await broker.publish(Message(stream="ORDERS", subject=subject, id=f"id-{number}", data=data))
    await broker.remove("ORDERS", 5)
    await stand.subscriber().replay(times[2], times[6]).run()
    assert stand.calls == ["k2", "k3", "k5"]


async def test_under_another_name_everything_is_handled_once_more(stand: Stand) -> None:
    """Once: interrupted and repeated it goes on where it was."""
    await stand.subscriber().replay(1).run()
    partly = stand.subscriber().replay(1, under="rebuilt")
    original, stand.calls = stand.calls, []

    async def stopping(event: OrderPlaced, ctx: Context) -> None:
        await stand.handle(event, ctx)
        if len(stand.calls) == 2:
            partly.stop()

    partly = stand.subscriber(route=on_order_placed(stopping)).replay(1, under="rebuilt")
    found = await partly.run()
    assert (found.position, found.finished) == (2, False)
    found = await stand.subscriber().replay(1, under="rebuilt").run()
    assert (found.passed_over, found.handled.total()) == (2, 4)
    assert stand.calls == original


async def test_a_shadow_gets_everything_each_time(stand: Stand) -> None:
    """The service's own handler and its inbox have no part in it."""
    seen: list[str] = []

    async def shadow(event: OrderPlaced, ctx: Context) -> None:
        assert ctx.correlation_id
        seen.append(event.order_id)

    for _ in range(2):
        await stand.subscriber().replay(1, shadow=shadow).run()
    assert "".join(seen) == "abababababab"
    assert stand.calls == []
    assert (await stand.subscriber().replay(1).run()).passed_over == 0


async def test_handlers_that_apply_their_events_are_replayed_too(stand: Stand) -> None:
    """In the inbox's transaction."""

    async def apply(event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        await tx.execute("INSERT INTO effects VALUES (:id)", {"id": event.order_id})

    route = EventRoute(ORDER_PLACED, apply, applies=True)
    for _ in range(2):
        await stand.subscriber(route=route).replay(1).run()
    assert await stand.effects() == ["a", "b", "a", "b", "a", "b"]


async def test_failures_are_counted_and_listed(stand: Stand) -> None:
    """They are not tried again, and what is no event is one of them; the others go on."""
    stand.fail = {"a2": PermanentError("broken"), "b3": RuntimeError("odd")}
    subject = ORDER_PLACED.subject_of("c")
    await stand.broker.publish(Message(stream="ORDERS", subject=subject, id="bad", data=b"\xff"))
    found = await stand.subscriber().replay(1).run()
    assert (found.failed, found.handled.total(), found.finished) == (3, 4, True)
    assert [(each.sequence, each.key) for each in found.failures] == [(3, "a"), (4, "b"), (7, "")]
    assert found.failures[1].reason == "RuntimeError: odd"
    assert stand.calls.count("b3") == 1


async def test_a_failure_stops_it_where_that_is_asked_for(stand: Stand) -> None:
    """Behind the event that failed."""
    stand.fail = {"a2": PermanentError("broken")}
    found = await stand.subscriber().replay(1, stop_on_error=True).run()
    assert (found.position, found.failed, found.finished) == (3, 1, False)
    assert stand.calls == ["a0", "b1", "a2"]


async def test_later_events_of_a_key_wait_where_the_contract_says_so(stand: Stand) -> None:
    """They are counted, and come when the replay is repeated, behind the one that failed."""
    stand.fail = {"a2": PermanentError("broken")}
    found = await stand.subscriber(hold_key=True).replay(1).run()
    assert (found.failed, found.behind) == (1, 1)
    stand.fail = {}
    await stand.subscriber(hold_key=True).replay(1).run()
    assert await stand.effects() == ["a0", "b1", "b3", "b5", "a2", "a4"]


async def test_an_outage_is_waited_for(stand: Stand) -> None:
    """However long it takes; a stop ends the waiting, and the event is not done then."""
    stand.fail = {"a2": StoreError(Code.UNAVAILABLE, "the database is away")}
    told: list[ReplayProgress] = []

    def heal(progress: ReplayProgress) -> None:
        told.append(progress)
        if stand.calls.count("a2") == 50:
            stand.fail = {}

    found = await stand.subscriber().replay(1, progress=heal).run()
    assert (found.failed, found.handled.total()) == (0, 6)
    assert "StoreError: UNAVAILABLE: the database is away" in {progress.waiting for progress in told}
    stand.fail = {"a2": StoreError(Code.UNAVAILABLE, "away again")}
    work: Replay = stand.subscriber().replay(1, under="other", progress=lambda progress: _stop(work, progress))
    found = await work.run()
    assert (found.position, found.finished) == (2, False)


def _stop(work: Replay, progress: ReplayProgress) -> None:
    if progress.waiting:
        work.stop()


async def test_a_stop_lets_the_handler_finish(stand: Stand) -> None:
    """Its event is done, and the next does not begin."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(event: OrderPlaced, ctx: Context) -> None:
        entered.set()
        await leave.wait()

    work = stand.subscriber(inbox=False, route=on_order_placed(slow)).replay(1)
    running = asyncio.create_task(work.run())
    await until(entered.is_set)
    work.stop()
    leave.set()
    found = await running
    assert (found.position, found.handled.total()) == (1, 1)


async def test_a_trial_counts_and_hands_over_nothing(stand: Stand) -> None:
    """What had its effect is told from what would be handled."""
    await stand.subscriber().replay(1, 2).run()
    found = await stand.subscriber().replay(1, trial=True, rate=0.001).run()
    assert (found.passed_over, found.handled) == (2, {NAME: 4})
    assert len(stand.calls) == 2


async def test_the_rate_is_kept(stand: Stand) -> None:
    """So many a second."""
    began = stand.clock.monotonic()
    await stand.subscriber().replay(1, rate=2.0).run()
    assert stand.clock.monotonic() - began == pytest.approx(2.5)


async def test_what_the_inbox_has_forgotten_is_refused(stand: Stand) -> None:
    """It could have its effect twice; under another name it may be handled."""
    stand.clock.advance(31 * 86_400.0)
    with pytest.raises(ConfigurationError, match=r"message 1 of ORDERS is older than what the inbox remembers"):
        await stand.subscriber().replay(1).run()
    assert stand.calls == []
    assert (await stand.subscriber().replay(1, under="rebuilt").run()).handled.total() == 6


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"under": "stock"}, "no other name for stock"),
        ({"under": "a b"}, "no other name for stock"),
        ({"under": "x", "shadow": print}, "either a shadow or another name"),
    ],
)
async def test_what_does_not_go_together_is_refused(stand: Stand, options: dict[str, Any], problem: str) -> None:
    """Before anything is handled."""
    with pytest.raises(ConfigurationError, match=problem):
        stand.subscriber().replay(1, **options)
    with pytest.raises(ConfigurationError, match="has no inbox to remember"):
        stand.subscriber(inbox=False).replay(1, under="x")
