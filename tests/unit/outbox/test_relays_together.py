"""Relays on one database, interrupted at the worst moments: every event once, and in order for its key.

A broker that remembers no ids stands for an outage longer than its window for duplicates.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick import outbox
from carrick.errors import Code, MessagingError, StoreError
from carrick.event import EventSpec
from carrick.messaging.contract import Message
from carrick.observe import Observation, PartitionsChanged, ignore
from carrick.outbox import Outbox, Relay, RelayOptions, table
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.store.places import AnyDatabase
from tests.unit.testing.programs import until

FAST = RelayOptions(poll=0.01, backoff=0.01, flush=1.0, lease=30.0)
ANOTHER = EventSpec(full_name="a.v1.Other", subject="orders.another.v1", key="order_id", message=OrderPlaced)
KEYS = ("k0", "k1", "k2", "k3")


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyDatabase]:
    """Return a new database with an outbox: each kind in turn."""
    if request.param == "sqlite":
        async with SqliteDatabase(tmp_path / "test.db", migrations=[outbox.MIGRATIONS]) as sqlite:
            yield sqlite
        return
    async with PostgresDatabase(request.getfixturevalue("postgres_url"), migrations=[outbox.MIGRATIONS]) as postgres:
        yield postgres


class Unreliable(MemoryBroker):
    """A broker without a window for duplicates, which stands still, or fails, before or after it has stored."""

    def __init__(self) -> None:
        super().__init__()
        self.before: asyncio.Event | None = None
        self.after: asyncio.Event | None = None
        self.fail_before = self.fail_after = False
        self.waiting = 0

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Append, with what was asked for happening to it."""
        await self._stand(self.before)
        if self.fail_before:
            self.fail_before = False
            raise MessagingError(Code.UNAVAILABLE, "lost on the way there")
        for stream in self._streams.values():
            stream.ids.clear()
        last = await super().append(messages, expected)
        await self._stand(self.after)
        if self.fail_after:
            self.fail_after = False
            raise MessagingError(Code.UNAVAILABLE, "lost on the way back")
        return last

    async def _stand(self, event: asyncio.Event | None) -> None:
        if event is not None:
            self.waiting += 1
            await event.wait()


async def _write(database: AnyDatabase, *keys: str) -> None:
    """Write an event of each key; every second one has another subject."""
    async with database.transaction() as tx:
        for number, key in enumerate(keys):
            await Outbox("orders").write(tx, (ORDER_PLACED, ANOTHER)[number % 2], OrderPlaced(order_id=key))


async def _end_leases(database: AnyDatabase) -> None:
    """Let the time of all leases be over."""
    async with database.transaction() as tx:
        await tx.execute("UPDATE carrick_outbox_lease SET until = 0")
        await tx.execute("UPDATE carrick_outbox_relay SET until = 0")


async def _audit(database: AnyDatabase, broker: MemoryBroker) -> None:
    """Compare the table with the stream, key by key: all is there, once, in order, and marked."""
    async with database.read() as tx:
        rows = (await tx.execute("SELECT id, key, published_at FROM carrick_outbox ORDER BY seq")).all()
    assert all(row.published_at is not None for row in rows)
    written, stored = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    keys = {}
    for row in rows:
        written[row.key].append(row.id)
        keys[row.id] = row.key
    for message in broker.messages("ORDERS") if rows else []:
        stored[keys[message.id]].append(message.id)
    assert stored == written


def _relay(database: AnyDatabase, broker: MemoryBroker, options: RelayOptions = FAST) -> Relay:
    relay = Relay(database, broker, options=options, observe=ignore)
    relay._begin()
    return relay


async def test_relays_share_the_partitions(database: AnyDatabase) -> None:
    """The second gets its half from the first, and all of it when the first has stopped."""
    broker = MemoryBroker()
    options = replace(FAST, lease=0.3)
    seen: list[Observation] = []
    first, second = (
        Relay(database, broker, options=options),
        Relay(database, broker, options=options, observe=seen.append),
    )
    async with second:
        async with first:
            await until(lambda: (len(first.partitions), len(second.partitions)) == (8, 8))
            assert not first.partitions & second.partitions
            await _write(database, *(f"k{number}" for number in range(100)))
            await settle(first, second)
            assert first.processed
            assert second.processed
        await until(lambda: len(second.partitions) == 16)
    assert sum(each.taken for each in seen if isinstance(each, PartitionsChanged)) >= 16
    await _audit(database, broker)


async def test_three_relays_get_no_more_than_their_shares(database: AnyDatabase) -> None:
    """Sixteen are six, five and five."""
    relays = [_relay(database, MemoryBroker()) for _ in range(3)]
    for _ in range(2):
        for relay in relays:
            await relay._share()
    assert sorted(len(relay.partitions) for relay in relays) == [4, 6, 6]
    assert len(frozenset[int]().union(*(relay.partitions for relay in relays))) == 16


async def test_a_relay_that_vanished_is_replaced_when_its_lease_ends(database: AnyDatabase) -> None:
    """Until then nobody else publishes; afterwards all is published, what it had taken up too."""
    broker = MemoryBroker()
    gone = _relay(database, broker, replace(FAST, lease=0.4))
    await gone._share()
    await _write(database, *KEYS)
    async with Relay(database, broker, options=replace(FAST, lease=0.4)) as relay:
        assert len(gone.partitions) == 16
        await settle(relay, timeout=10)
        assert len(relay.partitions) == 16
    await _audit(database, broker)


@pytest.mark.parametrize("stored", [False, True])
async def test_a_relay_that_was_held_up_publishes_and_marks_nothing(database: AnyDatabase, stored: bool) -> None:
    """It stands still while it publishes, before or after the stream has stored; another takes over, and it wakes."""
    broker = Unreliable()
    await _write(database, *KEYS * 3)
    late, quick = _relay(database, broker), _relay(database, broker)
    await late._share()
    await late._publish_next()  # it learns where the subjects are, and publishes nothing yet
    gate = asyncio.Event()
    if stored:
        broker.after = gate
    else:
        broker.before = gate
    publishing = asyncio.create_task(late._publish_next())
    await until(lambda: broker.waiting == 1)
    broker.before = broker.after = None
    await _end_leases(database)
    await quick._share()
    while await quick._publish_next():
        pass
    await _write(database, *KEYS)
    while await quick._publish_next():
        pass
    await _audit(database, broker)
    published = len(broker.messages("ORDERS"))
    gate.set()
    await publishing
    assert late.processed == 0
    assert len(broker.messages("ORDERS")) == published
    await late._publish_next()
    await _audit(database, broker)


async def test_a_relay_without_its_lease_does_not_mark_what_it_finds(database: AnyDatabase) -> None:
    """It was held up before it knew the stream, and finds there what the next one has stored and not marked yet."""
    broker = Unreliable()
    await _write(database, *KEYS)
    late, quick = _relay(database, broker), _relay(database, broker)
    await late._share()
    rows = await late._next_rows()
    await _end_leases(database)
    await quick._share()
    await quick._publish_next()
    broker.fail_after = True
    with pytest.raises(MessagingError):
        await quick._publish_next()
    with pytest.raises(MessagingError) as raised:
        await late._publishing.publish("ORDERS", rows)
    assert raised.value.code is Code.ABORTED
    assert late.processed == 0
    assert await quick.pending() == len(KEYS)


async def test_what_could_not_be_marked_is_not_published_again(
    database: AnyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away just after the stream has stored, for longer than the stream remembers ids."""
    broker = Unreliable()
    relay = _relay(database, broker)
    await relay._share()
    await _write(database, "k0", "k0")
    while await relay._publish_next():
        pass
    await _write(database, "k0", "k0")

    async def away(*arguments: object) -> None:
        raise StoreError(Code.UNAVAILABLE, "the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(table, "mark", away)
        with pytest.raises(StoreError):
            await relay._publish_next()
    while await relay._publish_next():
        pass
    await _audit(database, broker)


async def test_a_stream_that_lost_messages_goes_on(database: AnyDatabase) -> None:
    """What the relay knew of it is more than there is: it says so, and goes on after what is left."""
    broker = MemoryBroker()
    seen: list[str] = []
    relay = Relay(database, broker, options=FAST, observe=lambda each: seen.append(type(each).__name__))
    relay._begin()
    await relay._share()
    for _ in range(3):
        await _write(database, "k0")
        while await relay._publish_next():
            pass
    stream = broker._streams["ORDERS"]
    for sequence in list(stream.messages)[1:]:
        stream.remove(sequence)
    await _write(database, "k0")
    while await relay._publish_next():
        pass
    assert len(broker.messages("ORDERS")) == 2
    assert seen.count("StreamBehind") == 1


async def test_a_stop_gives_the_partitions_back(database: AnyDatabase) -> None:
    """The next relay need not wait for the leases to end."""
    broker = MemoryBroker()
    async with Relay(database, broker, options=FAST) as relay:
        await until(lambda: len(relay.partitions) == 16)
    other = _relay(database, broker)
    await other._share()
    assert len(other.partitions) == 16


@asynccontextmanager
async def _fresh() -> AsyncIterator[SqliteDatabase]:
    with TemporaryDirectory() as folder:
        async with SqliteDatabase(Path(folder) / "outbox.db", migrations=[outbox.MIGRATIONS]) as database:
            yield database


class Site:
    """Two relays, one database, one broker, and what can happen to them."""

    def __init__(self, database: AnyDatabase) -> None:
        self.database = database
        self.broker = Unreliable()
        self.relays = [_relay(database, self.broker, replace(FAST, batch=3)) for _ in range(2)]
        self.held_up: list[tuple[asyncio.Event, asyncio.Task[object]]] = []

    async def do(self, action: str, number: int) -> None:
        """Let one thing happen."""
        relay, broker = self.relays[number % 2], self.broker
        match action:
            case "write":
                await _write(self.database, *(KEYS * 2)[number : number + 1 + number % 4])
            case "share":
                await relay._share()
            case "publish":
                await self._publish(relay)
            case "lose the way there" | "lose the way back":
                broker.fail_before, broker.fail_after = action.endswith("there"), action.endswith("back")
                await self._publish(relay)
                broker.fail_before = broker.fail_after = False
            case "hold up reading" | "hold up before" | "hold up after":
                await self._hold_up(relay, action)
            case "wake" if self.held_up:
                await self._wake(number)
            case "end leases":
                await _end_leases(self.database)
            case "restart":
                self.relays[number % 2] = _relay(self.database, broker, replace(FAST, batch=3))

    async def end(self) -> None:
        """Let everything wake up, and a healthy relay publish the rest."""
        while self.held_up:
            await self._wake(0)
        await _end_leases(self.database)
        relay = _relay(self.database, self.broker)
        await relay._share()
        while await relay._publish_next():
            pass
        await _audit(self.database, self.broker)

    async def _publish(self, relay: Relay) -> None:
        try:
            await relay._publish_next()
        except MessagingError:
            relay._resting.clear()

    async def _hold_up(self, relay: Relay, moment: str) -> None:
        gate, waiting = asyncio.Event(), self.broker.waiting
        self.broker.before = gate if moment.endswith("before") else None
        self.broker.after = gate if moment.endswith("after") else None
        if moment.endswith("reading"):
            self._stand_after_reading(relay, gate)
        task = asyncio.create_task(self._publish(relay))
        await until(lambda: task.done() or self.broker.waiting > waiting)
        self.broker.before = self.broker.after = None
        if task.done():
            await task
        else:
            self.held_up.append((gate, task))
            index = self.relays.index(relay)  # it is busy: another one of its process's kind is in its place
            self.relays[index] = _relay(self.database, self.broker, replace(FAST, batch=3))

    def _stand_after_reading(self, relay: Relay, gate: asyncio.Event) -> None:
        read = relay._next_rows

        async def reading() -> list[Any]:
            relay._next_rows = read  # type: ignore[method-assign]
            rows = await read()
            await self.broker._stand(gate)
            return rows

        relay._next_rows = reading  # type: ignore[method-assign]

    async def _wake(self, number: int) -> None:
        gate, task = self.held_up.pop(number % len(self.held_up))
        gate.set()
        await task


ACTIONS = st.sampled_from(
    [
        "write",
        "share",
        "publish",
        "lose the way there",
        "lose the way back",
        "hold up reading",
        "hold up before",
        "hold up after",
        "wake",
        "end leases",
        "restart",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 7)), min_size=1, max_size=40))
def test_whatever_happens_each_event_is_stored_once_and_in_order(happenings: list[tuple[str, int]]) -> None:
    """Lost messages, lost acknowledgements, relays that stand still past their leases and wake up, restarts."""

    async def run() -> None:
        async with _fresh() as database:
            site = Site(database)
            for action, number in happenings:
                await site.do(action, number)
            await site.end()

    asyncio.run(run())
