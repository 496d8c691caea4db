"""Keys side by side: a slow or failed key stops no other, and order is kept within each."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick import store
from carrick.context import Context
from carrick.errors import Code, ConfigurationError, PermanentError, StoreError
from carrick.event import EventSpec, partition_of
from carrick.messaging import Message, Subscriber, SubscriberOptions
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.letters import DeadLetter
from carrick.messaging.redrive import Redrive
from carrick.observe import EventDeadLettered, EventHandlingFailed, Observation
from carrick.options import HandlingOptions, UnknownType
from carrick.route import EventRoute, Upcaster
from carrick.store import Inbox, Parking, Transaction
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import GetOrderResponse, OrderPlaced
from tests.unit.testing.programs import until

OPTIONS = SubscriberOptions(fetch_wait=0.05, lease=1.0, poll=0.05)
QUICK = HandlingOptions(max_attempts=3, initial_backoff=0.001, max_backoff=0.004)
LOOSE = EventSpec(
    full_name="shop.orders.v1.Looked", subject="orders.looked.v1", key="order_id", message=OrderPlaced, unordered=True
)


class Stand:
    """A database with effects, a broker, and what each handler was given."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self.broker = MemoryBroker()
        self.inbox = Inbox(database)
        self.parking = Parking(database)
        self.seen: list[Observation] = []
        self.calls: list[int] = []
        self.fail: Callable[[OrderPlaced], Any] = lambda event: None
        self._number = 0

    async def publish(
        self, key: str, *totals: int, spec: EventSpec[Any] = ORDER_PLACED, headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish events of a key."""
        await self.broker.ensure_stream("ORDERS", ["orders.>"])
        for total in totals:
            self._number += 1
            name = f"{key}-{total}-{self._number}"
            told = headers_for(spec, Envelope(id=name, key=key), time=0.0) | dict(headers or {})
            data = OrderPlaced(order_id=key, total=total).SerializeToString()
            await self.broker.publish(
                Message(stream="ORDERS", subject=spec.subject_of(key), id=name, data=data, headers=told)
            )

    async def handle(self, event: OrderPlaced, ctx: Context) -> None:
        """Have the effect, or fail as told."""
        self.calls.append(event.total)
        if (error := self.fail(event)) is not None:
            raise error
        async with self.database.transaction() as tx:
            await self.write(tx, event)
            await tx.handled()

    async def apply(self, event: OrderPlaced, tx: Transaction, ctx: Context) -> None:
        """Have the effect in the transaction that is given."""
        self.calls.append(event.total)
        await self.write(tx, event)
        if (error := self.fail(event)) is not None:
            raise error

    async def write(self, tx: Transaction, event: OrderPlaced) -> None:
        """Write an effect."""
        await tx.execute("INSERT INTO effects VALUES (:key, :number)", {"key": event.order_id, "number": event.total})

    async def effects(self) -> dict[str, list[int]]:
        """Return the effects of each key, in their order."""
        found: dict[str, list[int]] = defaultdict(list)
        async with self.database.read() as tx:
            for row in (await tx.execute("SELECT key, number FROM effects ORDER BY rowid")).all():
                found[row.key].append(row.number)
        return dict(found)

    async def parked(self) -> int:
        """Count the rows of parked events."""
        async with self.database.read() as tx:
            return int((await tx.execute("SELECT count(*) FROM carrick_parked")).scalar_one())

    async def until_parked(self, count: int) -> None:
        """Wait until there are so many rows of parked events."""

        async def reached() -> bool:
            return await self.parked() >= count

        await until(reached)

    def dead(self) -> list[Message]:
        """Return the dead letters."""
        return self.broker.messages("DEADLETTERS") if "DEADLETTERS" in self.broker._streams else []

    def subscriber(
        self,
        *,
        handling: HandlingOptions = QUICK,
        options: SubscriberOptions = OPTIONS,
        applies: bool = False,
        spec: EventSpec[Any] = ORDER_PLACED,
        inbox: bool = True,
    ) -> Subscriber:
        """Make a subscriber."""
        handler = self.apply if applies else self.handle
        route = EventRoute(spec, handler, applies=applies, handling=handling)
        return Subscriber(
            "stock",
            self.broker,
            [route],
            inbox=self.inbox if inbox else None,
            options=options,
            observe=self.seen.append,
        )


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A stand with an empty database."""
    async with SqliteDatabase(tmp_path / "stock.db", migrations=[store.MIGRATIONS]) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE effects (key TEXT, number INTEGER)")
        yield Stand(database)


async def test_keys_do_not_wait_for_each_other(stand: Stand) -> None:
    """While one key's handler hangs, the events of all others are handled."""
    may_end = asyncio.Event()
    plain = stand.handle

    async def slow(event: OrderPlaced, ctx: Context) -> None:
        if event.order_id == "slow":
            await may_end.wait()
        await plain(event, ctx)

    stand.handle = slow  # type: ignore[method-assign]
    await stand.publish("slow", 1, 2)
    for key in range(40):
        await stand.publish(f"k{key}", 1, 2)
    async with stand.subscriber() as subscriber:
        await until(lambda: subscriber.processed == 80)
        assert "slow" not in await stand.effects()
        may_end.set()
        await settle(subscriber)
    assert all(numbers == [1, 2] for numbers in (await stand.effects()).values())


async def test_a_failed_key_stops_no_other(stand: Stand) -> None:
    """Its events wait in the database, in order, and cost the broker nothing; all others are handled meanwhile."""
    failing = True
    stand.fail = lambda event: StoreError(Code.UNAVAILABLE, "away") if failing and event.order_id == "bad" else None
    await stand.publish("bad", 1, 2, 3)
    for key in range(40):
        await stand.publish(f"k{key}", 1)
    async with stand.subscriber() as subscriber:
        await until(lambda: subscriber.processed == 40)
        await stand.publish("bad", 4)
        await stand.until_parked(4)
        places = [await stand.broker.place("ORDERS", f"stock-p{partition:02d}") for partition in range(16)]
        assert sum(place.pending + place.in_flight for place in places if place is not None) == 0
        assert await subscriber.pending() == 4
        failing = False
        await settle(subscriber)
    assert (await stand.effects())["bad"] == [1, 2, 3, 4]
    assert await stand.parked() == 0


async def test_what_is_parked_survives_the_process(stand: Stand) -> None:
    """Another one goes on with it, where it was, and attempts are not counted anew."""
    stand.fail = lambda event: KeyError("own fault")
    await stand.publish("bad", 1, 2)
    patient = replace(QUICK, initial_backoff=0.2, max_backoff=0.2)
    async with stand.subscriber(handling=patient):
        await until(lambda: any(isinstance(each, EventHandlingFailed) for each in stand.seen))
        await stand.until_parked(2)
    async with stand.subscriber(handling=patient) as subscriber:
        await settle(subscriber)
    assert stand.calls == [1, 1, 1, 2, 2, 2]
    assert [dead.headers["Carrick-Attempts"] for dead in stand.dead()] == ["3", "3"]


async def test_a_dead_letter_can_hold_its_key(stand: Stand) -> None:
    """By contract, later events of its key wait behind a dead letter until it is sent again; other keys go on."""
    failing = True
    stand.fail = lambda event: KeyError() if failing and event.total == 1 else None
    await stand.publish("held", 1, 2, 3)
    await stand.publish("free", 5)
    async with stand.subscriber(handling=replace(QUICK, hold_key=True)) as subscriber:
        await settle(subscriber)
        assert await stand.effects() == {"free": [5]}
        assert len(stand.dead()) == 1
        assert await stand.parked() == 3
        failing = False
        ((tenure, _),) = [await stand.parking.begin("look", "ORDERS", 0)]
        (first, *_) = await stand.parking.of_key(
            replace(tenure, consumer="stock", partition=int(ORDER_PLACED.subject_of("held")[-2:])), "held", 1
        )
        await stand.parking.again("stock", "ORDERS", first)
        await settle(subscriber)
    assert (await stand.effects())["held"] == [1, 2, 3]
    assert await stand.parked() == 0


async def test_a_dead_letter_lets_its_key_pass_unless_told(stand: Stand) -> None:
    """Then the next event of the key is handled."""
    stand.fail = lambda event: PermanentError("no such thing") if event.total == 1 else None
    await stand.publish("k", 1, 2, 3)
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
    assert await stand.effects() == {"k": [2, 3]}
    assert stand.calls == [1, 2, 3]
    (dead,) = stand.dead()
    assert dead.headers["Carrick-Reason"] == "can never be handled: no such thing"
    assert dead.headers["Carrick-Attempts"] == "1"
    assert "in handle" in dead.headers["Carrick-Stack"]


async def test_applied_events_share_transactions(stand: Stand) -> None:
    """Each has its effect once and in order, in far fewer transactions than events."""
    commits = 0
    run = stand.database.run

    async def counted(work: Any) -> Any:
        nonlocal commits
        commits += 1
        return await run(work)

    for key in range(10):
        await stand.publish(f"k{key}", *range(20))
    stand.database.run = counted  # type: ignore[method-assign]
    async with stand.subscriber(applies=True) as subscriber:
        await until(lambda: subscriber.processed == 200)
        assert commits < 100
        await settle(subscriber)
    assert await stand.effects() == {f"k{key}": list(range(20)) for key in range(10)}


async def test_an_applied_event_that_fails_is_alone(stand: Stand) -> None:
    """What shared its transaction is applied without it; it is parked, and goes to the dead letters by itself."""
    stand.fail = lambda event: KeyError("poison") if event.total == 7 else None
    for key in ("a", "b", "c"):
        await stand.publish(key, *range(10))
    async with stand.subscriber(applies=True) as subscriber:
        await settle(subscriber)
    rest = [number for number in range(10) if number != 7]
    assert await stand.effects() == {"a": rest, "b": rest, "c": rest}
    assert len(stand.dead()) == 3
    assert await stand.parked() == 0


async def test_an_applied_event_that_comes_twice_is_applied_once(stand: Stand) -> None:
    """Twice in one transaction, or in two."""
    for name in ("one", "one", "two", "one"):
        await stand.publish("k", 1, headers={"ce-id": name})
    async with stand.subscriber(applies=True) as subscriber:
        await settle(subscriber)
        await stand.publish("k", 1, headers={"ce-id": "two"})
        await settle(subscriber)
        assert subscriber.processed == 5
    assert await stand.effects() == {"k": [1, 1]}


async def test_events_without_an_order_are_handed_back(stand: Stand) -> None:
    """They wait for no other, are not parked, and go to the dead letters after their attempts as well."""
    failures = {1: 2, 2: 99}

    def fail(event: OrderPlaced) -> Exception | None:
        failures[event.total] = failures.get(event.total, 0) - 1
        return KeyError("no") if failures[event.total] >= 0 else None

    stand.fail = fail
    await stand.publish("k", 1, 2, 3, spec=LOOSE)
    async with stand.subscriber(spec=LOOSE) as subscriber:
        await settle(subscriber)
        assert await stand.parked() == 0
    assert sorted((await stand.effects())["k"]) == [1, 3]
    assert stand.calls.count(2) == 3
    (dead,) = stand.dead()
    assert OrderPlaced.FromString(dead.data).total == 2


async def test_events_without_an_order_are_handled_by_all(stand: Stand) -> None:
    """Every process takes some of them."""
    first, second = stand.subscriber(spec=LOOSE), stand.subscriber(spec=LOOSE)
    async with first, second:
        for number in range(40):
            await stand.publish("k", number, spec=LOOSE)
        await settle(first, second)
        assert first.processed + second.processed == 40
    assert sorted((await stand.effects())["k"]) == list(range(40))


async def test_older_versions_are_cast_to_the_newest(stand: Stand) -> None:
    """A consumer handles one version; an upcaster makes it of an older one, in order with the others of its key."""
    old = EventSpec(
        full_name="shop.orders.v0.OrderPlaced", subject="orders.placed.v0", key="order_id", message=GetOrderResponse
    )
    made: list[int] = []

    def upcast(event: GetOrderResponse) -> OrderPlaced:
        if event.total == 13:
            raise ValueError("unlucky")
        made.append(event.total)
        return OrderPlaced(order_id=event.order_id, total=event.total)

    async def publish_old(total: int) -> None:
        message = GetOrderResponse(order_id="k", total=total)
        await stand.broker.ensure_stream("ORDERS", ["orders.>"])
        await stand.broker.publish(
            Message(
                stream="ORDERS",
                subject=old.subject_of("k"),
                id=f"old-{total}",
                data=message.SerializeToString(),
                headers=headers_for(old, Envelope(id=f"old-{total}", key="k"), time=0.0),
            )
        )

    await publish_old(1)
    await stand.publish("k", 2)
    await publish_old(13)
    await publish_old(3)
    route = EventRoute(ORDER_PLACED, stand.handle, handling=QUICK, upcasters=(Upcaster(old, upcast),))
    async with Subscriber("stock", stand.broker, [route], inbox=stand.inbox, options=OPTIONS) as subscriber:
        await settle(subscriber)
    assert await stand.effects() == {"k": [1, 2, 3]}
    assert made == [1, 3]
    (dead,) = stand.dead()
    assert dead.headers["Carrick-Reason"] == ("the upcaster of shop.orders.v0.OrderPlaced failed: ValueError: unlucky")


async def test_unknown_types_are_skipped_where_the_contract_says(stand: Stand) -> None:
    """They are settled without a word; otherwise they are dead letters."""
    await stand.publish("k", 1, headers={"ce-type": "shop.orders.v9.OrderPlaced"})
    await stand.publish("k", 2)
    async with stand.subscriber(handling=replace(QUICK, unknown_type=UnknownType.SKIP)) as subscriber:
        await settle(subscriber)
        assert subscriber.processed == 2
    assert await stand.effects() == {"k": [2]}
    assert stand.dead() == []


async def test_unknown_fields_are_kept(stand: Stand) -> None:
    """What a newer version of the event says reaches the handler, and its dead letter, as it was sent."""
    got: list[bytes] = []

    async def handle(event: OrderPlaced, ctx: Context) -> None:
        got.append(event.SerializeToString())
        raise PermanentError("look at it")

    stand.handle = handle  # type: ignore[method-assign]
    newer = OrderPlaced(order_id="k").SerializeToString() + b"\xba\x3e\x03new"
    await stand.broker.ensure_stream("ORDERS", ["orders.>"])
    await stand.broker.publish(
        Message(stream="ORDERS", subject=ORDER_PLACED.subject_of("k"), id="n", data=newer, headers={})
    )
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
    assert got == [newer]
    assert [dead.data for dead in stand.dead()] == [newer]


async def test_too_many_parked_events_stop_their_partition(stand: Stand) -> None:
    """What can't be handled for want of something else stays in the stream, instead of filling the database."""
    stand.fail = lambda event: StoreError(Code.UNAVAILABLE, "away")
    patient = replace(QUICK, initial_backoff=3600.0, max_backoff=3600.0)
    await stand.publish("k", *range(200))
    options = replace(OPTIONS, max_parked=20, max_in_flight=10)
    async with stand.subscriber(handling=patient, options=options) as subscriber:
        await stand.until_parked(20)
        await asyncio.sleep(0.2)
        assert await stand.parked() <= 30
        assert await subscriber.pending() == 200


async def test_what_needs_a_database_says_so() -> None:
    """Applying an event, and holding a key, need one."""

    async def handle(*args: object) -> None: ...

    with pytest.raises(ConfigurationError, match="applies its event in the inbox's transaction; give the subscriber"):
        Subscriber("s", MemoryBroker(), [EventRoute(ORDER_PLACED, handle, applies=True)], inbox=None)
    held = EventRoute(ORDER_PLACED, handle, handling=HandlingOptions(hold_key=True))
    with pytest.raises(ConfigurationError, match="need a place for that"):
        Subscriber("s", MemoryBroker(), [held], inbox=None)
    with pytest.raises(ConfigurationError, match=r"two routes for shop\.orders\.v1\.OrderPlaced; leave out one"):
        Subscriber("s", MemoryBroker(), [EventRoute(ORDER_PLACED, handle)] * 2, inbox=None)


async def test_observations_tell_of_each_dead_letter(stand: Stand) -> None:
    """With its consumer, subject, place and reason."""
    stand.fail = lambda event: PermanentError("no")
    await stand.publish("k", 1)
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
    (told,) = [each for each in stand.seen if isinstance(each, EventDeadLettered)]
    assert (told.consumer, told.subject, told.sequence) == ("stock", ORDER_PLACED.subject_of("k"), 1)


async def test_a_dead_letter_that_is_sent_again_is_handled(stand: Stand) -> None:
    """Once the fault is mended it has its effect; it is no dead letter any more, and nothing says that it comes."""
    stand.fail = lambda event: PermanentError("broken") if event.total == 1 else None
    redrive = Redrive(stand.broker)
    await stand.publish("k", 1, 2)
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
        stand.fail = lambda event: None
        (letter,) = [each async for each in redrive.letters("stock")]
        assert (letter.consumer, letter.stream, letter.sequence, letter.attempts) == ("stock", "ORDERS", 1, 1)
        assert (letter.type, letter.key) == (ORDER_PLACED.full_name, "k")
        await redrive.send_again(letter)
        await until(lambda: stand.calls == [1, 2, 1])
        await settle(subscriber)
        await until(lambda: stand.broker.messages("REDRIVES") == [])
    assert await stand.effects() == {"k": [2, 1]}
    assert stand.dead() == []
    assert await stand.parked() == 0


@pytest.mark.parametrize("inbox", [True, False])
async def test_one_that_fails_again_is_a_dead_letter_again(stand: Stand, *, inbox: bool) -> None:
    """However soon: it is not taken for a repetition of the first."""

    async def broken(event: OrderPlaced, ctx: Context) -> None:
        raise PermanentError("still broken")

    stand.handle = broken  # type: ignore[method-assign]
    redrive = Redrive(stand.broker)
    await stand.publish("k", 1)
    async with stand.subscriber(inbox=inbox) as subscriber:
        for number in range(1, 4):

            async def dead(number: int = number) -> bool:
                return await redrive.letter(number) is not None

            await until(dead)
            letter = await redrive.letter(number)
            assert letter is not None
            await redrive.send_again(letter)
            assert await redrive.letter(number) is None
        await until(lambda: len(stand.dead()) == 1)
        await settle(subscriber)
    assert stand.dead()[0].headers["Carrick-Letter"] == "3"


async def test_held_events_go_on_when_their_dead_letter_is_sent_again_or_dropped(stand: Stand) -> None:
    """Sent again it comes first; dropped it does not come at all; either way what waits behind it is handled."""
    broken = True
    stand.fail = lambda event: PermanentError("broken") if broken and event.total == 1 else None
    redrive = Redrive(stand.broker)
    for key in ("again", "drop"):
        await stand.publish(key, 1, 2, 3)
    async with stand.subscriber(handling=replace(QUICK, hold_key=True)) as subscriber:
        await until(lambda: len(stand.dead()) == 2)
        await settle(subscriber)
        assert await stand.effects() == {}
        broken = False
        async for letter in redrive.letters():
            await (redrive.send_again(letter) if letter.key == "again" else redrive.drop(letter))
        await until(lambda: len(stand.calls) == 7)
        await settle(subscriber)
    assert await stand.effects() == {"again": [1, 2, 3], "drop": [2, 3]}
    assert stand.dead() == []
    assert await stand.parked() == 0


async def test_an_event_without_an_order_is_sent_again_too(stand: Stand) -> None:
    """It goes to whichever process takes it."""
    stand.fail = lambda event: PermanentError("broken")
    redrive = Redrive(stand.broker)
    await stand.publish("k", 1, spec=LOOSE)
    async with stand.subscriber(spec=LOOSE) as subscriber:
        await until(lambda: len(stand.dead()) == 1)
        stand.fail = lambda event: None
        (letter,) = [each async for each in redrive.letters()]
        await redrive.send_again(letter)
        await until(lambda: stand.calls == [1, 1])
        await settle(subscriber)
    assert await stand.effects() == {"k": [1]}
    assert stand.dead() == []


@pytest.mark.parametrize("applies", [False, True])
async def test_who_wakes_up_late_has_no_effect(stand: Stand, *, applies: bool) -> None:
    """A process that hung in an event while another took its partition can't put it behind what came after it."""
    hanging, may_go_on = asyncio.Event(), asyncio.Event()

    async def late(event: OrderPlaced, *rest: Any) -> None:
        hanging.set()
        await may_go_on.wait()
        await plain(event, *rest)

    plain = stand.handle
    await stand.publish("k", 1, 2)
    route = EventRoute(ORDER_PLACED, late, handling=QUICK)
    old = Subscriber("stock", stand.broker, [route], inbox=stand.inbox, options=OPTIONS, grace=0.05)
    async with old:
        await hanging.wait()
        members = [stand.subscriber(applies=applies) for _ in range(15)]
        stand.fail = lambda event: PermanentError("no") if event.total == 1 else None
        async with AsyncExitStack() as parts:
            for each in members:
                await parts.enter_async_context(each)
            await until(lambda: sum(each.processed for each in members) == 2)
            stand.fail = lambda event: None
            may_go_on.set()
            await asyncio.sleep(0.3)
    assert await stand.effects() == {"k": [2]}
    assert len(stand.dead()) == 1
    assert await stand.parked() == 0


async def test_a_slow_hand_over_costs_no_other_partition(stand: Stand) -> None:
    """While a handler takes longer than a lease, what else its process holds is renewed."""
    may_end = asyncio.Event()
    plain = stand.handle

    async def slow(event: OrderPlaced, ctx: Context) -> None:
        await may_end.wait()
        await plain(event, ctx)

    stand.handle = slow  # type: ignore[method-assign]
    for key in range(40):
        await stand.publish(f"k{key}", 1)
    first, second = stand.subscriber(), stand.subscriber()
    async with first:
        await until(lambda: len(first.partitions) == 16)
        await until(lambda: len(first._keeping) >= 40)
        async with second:
            await asyncio.sleep(2.5)
            assert len(first.partitions) == 16, "they are being handed over, and still held"
            assert second.partitions == frozenset()
            may_end.set()
            await until(lambda: len(first.partitions) == len(second.partitions) == 8)
            await settle(first, second)
    assert len(await stand.effects()) == 40
    assert len(stand.calls) == 40


async def test_an_older_version_passes_no_event_over(stand: Stand) -> None:
    """What only the newer one has a route for is a dead letter while the older one runs; retired, it does not come."""
    newer = EventSpec(
        full_name="shop.orders.v1.OrderShipped", subject="orders.shipped.v1", key="order_id", message=OrderPlaced
    )
    both = [EventRoute(spec, stand.handle, handling=QUICK) for spec in (ORDER_PLACED, newer)]

    def subscriber(routes: list[EventRoute[Any]], *retired: EventSpec[Any]) -> Subscriber:
        return Subscriber(
            "stock", stand.broker, routes, inbox=stand.inbox, retired=retired, options=OPTIONS, observe=lambda _: None
        )

    await stand.publish("k", 1)
    async with subscriber(both) as new:
        await stand.publish("k", 2, spec=newer)
        await settle(new)
    async with subscriber(both[:1]) as old:
        await stand.publish("k", 3, spec=newer)
        await stand.publish("k", 4)
        await settle(old)
    assert await stand.effects() == {"k": [1, 2, 4]}
    (dead,) = stand.dead()
    assert OrderPlaced.FromString(dead.data).total == 3
    async with subscriber(both) as new:
        await stand.publish("k", 5, spec=newer)
        await settle(new)
        await Redrive(stand.broker).send_again(DeadLetter.of((await stand.broker.read("DEADLETTERS", ">", 0, 1))[0]))
        await until(lambda: stand.calls[-1] == 3)
        await settle(new)
    async with subscriber(both[:1], newer) as old:
        await until(lambda: len(old.partitions) == 16)
        await stand.publish("k", 6, spec=newer)
        await stand.publish("k", 7)
        await settle(old)
    assert await stand.effects() == {"k": [1, 2, 4, 5, 3, 7]}
    assert stand.dead() == []


@pytest.mark.parametrize("anew", [False, True])
async def test_a_place_that_the_broker_lost_is_known(stand: Stand, *, anew: bool) -> None:
    """However long ago it was handled, nothing is handled again; a stream that was made anew is read from the start."""
    await stand.publish("k", 1, 2, 3)
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
        await subscriber._note_positions()
    async with stand.database.transaction() as tx:
        await tx.execute("DELETE FROM carrick_inbox")  # its retention is over
    for partition in range(16):
        stand.broker.delete_consumer("ORDERS", f"stock-p{partition:02d}")
    if anew:
        stand.broker.delete_stream("ORDERS")
    await stand.publish("k", 4, 5, 6, 7)
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
    assert await stand.effects() == {"k": [1, 2, 3, 4, 5, 6, 7]}


async def test_who_has_lost_a_partition_leaves_all_of_it(stand: Stand) -> None:
    """However much it has in hand of a key whose first event it could not park: nothing may overtake that."""
    begun = asyncio.Event()
    went_on = asyncio.Event()
    numbers = range(1, 61)

    async def late(event: OrderPlaced, ctx: Context) -> None:
        stand.calls.append(event.total)
        begun.set()
        await went_on.wait()
        raise KeyError("late")

    stand.handle = late  # type: ignore[method-assign]
    await stand.publish("k", *numbers)
    async with stand.subscriber(options=replace(OPTIONS, lease=3600.0)):
        await begun.wait()
        await stand.parking.begin("stock", "ORDERS", partition_of("k"))
        went_on.set()
        await asyncio.sleep(0.3)
        assert stand.calls == [1]
        assert await stand.parked() == 0


async def test_who_has_lost_a_partition_buries_nothing_of_it(stand: Stand) -> None:
    """Its new owner may be handling what this one gives up."""
    begun = asyncio.Event()
    went_on = asyncio.Event()

    async def late(event: OrderPlaced, ctx: Context) -> None:
        begun.set()
        await went_on.wait()
        raise PermanentError("late")

    stand.handle = late  # type: ignore[method-assign]
    await stand.publish("k", 1)
    async with stand.subscriber(options=replace(OPTIONS, lease=3600.0)):
        await begun.wait()
        await stand.parking.begin("stock", "ORDERS", partition_of("k"))
        went_on.set()
        await asyncio.sleep(0.3)
        assert stand.dead() == []


async def test_who_has_lost_a_partition_handles_no_more_of_a_parked_key(stand: Stand) -> None:
    """It stops behind the event that it had begun with, and leaves the rows to their new owner."""
    stand.fail = lambda event: StoreError(Code.UNAVAILABLE, "away")
    await stand.publish("k", 1, 2, 3)
    begun = asyncio.Event()
    went_on = asyncio.Event()
    async with stand.subscriber():
        await stand.until_parked(3)
    plain, calls = stand.handle, stand.calls
    stand.fail = lambda event: None
    calls.clear()

    async def late(event: OrderPlaced, ctx: Context) -> None:
        begun.set()
        await went_on.wait()
        await plain(event, ctx)

    stand.handle = late  # type: ignore[method-assign]
    async with stand.subscriber(options=replace(OPTIONS, lease=3600.0)):
        await begun.wait()
        await stand.parking.begin("stock", "ORDERS", partition_of("k"))
        went_on.set()
        await asyncio.sleep(0.3)
        assert calls == [1]
        assert await stand.parked() == 3


async def test_a_partition_that_was_lost_for_a_moment_is_begun_anew(stand: Stand) -> None:
    """Who still has the lease becomes its owner again, and everything is handled in its turn."""
    lost = False

    async def late(event: OrderPlaced, ctx: Context) -> None:
        nonlocal lost
        stand.calls.append(event.total)
        if not lost:
            lost = True
            await stand.parking.begin("stock", "ORDERS", partition_of("k"))
            raise KeyError("late")
        async with stand.database.transaction() as tx:
            await stand.write(tx, event)
            await tx.handled()

    stand.handle = late  # type: ignore[method-assign]
    await stand.publish("k", *range(1, 61))
    async with stand.subscriber() as subscriber:
        await settle(subscriber)
    assert await stand.effects() == {"k": list(range(1, 61))}
    assert stand.calls == [1, *range(1, 61)]


async def test_a_database_that_has_to_try_again_is_no_newer_owner(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be parked because another transaction was in the way is parked a moment later, in its place."""
    park = Parking.park
    refused = 0

    async def once_in_the_way(parking: Parking, *arguments: Any) -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise StoreError(Code.ABORTED, "deadlock detected")
        await park(parking, *arguments)

    monkeypatch.setattr(Parking, "park", once_in_the_way)
    failing = True
    stand.fail = lambda event: KeyError("own fault") if failing and event.total == 1 else None
    await stand.publish("k", *range(1, 41))
    async with stand.subscriber(handling=replace(QUICK, max_attempts=1000)) as subscriber:
        await stand.until_parked(1)
        failing = False
        await settle(subscriber)
    assert await stand.effects() == {"k": list(range(1, 41))}


async def test_a_slow_handler_costs_no_leases_while_its_partition_is_handed_over(stand: Stand) -> None:
    """Who gives partitions to a newcomer keeps all others, however long it waits for what is being handled."""
    plain = stand.handle

    async def slow(event: OrderPlaced, ctx: Context) -> None:
        stand.calls.append(event.total)
        await asyncio.sleep(1.5)
        await plain(event, ctx)

    stand.handle = slow  # type: ignore[method-assign]
    keys = {partition_of(f"k{number}"): f"k{number}" for number in range(200)}
    for partition, key in keys.items():
        await stand.publish(key, partition)
    assert len(keys) == 16
    async with stand.subscriber(options=replace(OPTIONS, lease=1.0)) as first:
        await until(lambda: len(stand.calls) == 16)
        async with stand.subscriber(options=replace(OPTIONS, lease=1.0)) as second:
            await settle(first, second)
            await until(lambda: len(first.partitions) == len(second.partitions) == 8)
    assert sorted(stand.calls) == sorted([*range(16), *range(16)]), "each was begun once, and ended once"
