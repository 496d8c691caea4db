"""The relay: everything that was committed, nothing else, in order for each partition, marked after the ack."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from carrick import outbox
from carrick.errors import Code, ConfigurationError, MessagingError
from carrick.event import EventSpec, partition_of
from carrick.messaging.contract import Message
from carrick.observe import EventExpired, EventQuarantined, EventsPublished, Observation, PublishFailed
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.store.postgres import PostgresDatabase
from carrick.store.sqlite import SqliteDatabase
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.store.places import AnyDatabase
from tests.unit.testing.programs import until

FAST = RelayOptions(poll=0.02, backoff=0.01, flush=0.5)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyDatabase]:
    """Return a new database with an outbox: each kind in turn."""
    if request.param == "sqlite":
        async with SqliteDatabase(tmp_path / "test.db", migrations=[outbox.MIGRATIONS]) as sqlite:
            yield sqlite
        return
    async with PostgresDatabase(request.getfixturevalue("postgres_url"), migrations=[outbox.MIGRATIONS]) as postgres:
        yield postgres


class Flaky(MemoryBroker):
    """A broker that can be told what to refuse, and whose acknowledgements can be held back or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.refused_streams: set[str] = set()
        self.lose_acks = 0
        self.open = asyncio.Event()
        self.open.set()
        self.tries = 0

    def forget_ids(self) -> None:
        """Have no window for duplicates any more."""
        for stream in self._streams.values():
            stream.ids.clear()

    async def ensure_stream(self, name: str, subjects: Sequence[str], *, last_only_for: float | None = None) -> None:
        """Refuse a stream, or create it."""
        if name in self.refused_streams:
            raise MessagingError(Code.FAILED_PRECONDITION, f"stream {name} is not as it should be")
        await super().ensure_stream(name, subjects, last_only_for=last_only_for)

    async def append(self, messages: Sequence[Message], expected: Mapping[str, int]) -> Mapping[str, int]:
        """Store, then acknowledge, if told so."""
        self.tries += 1
        if {OrderPlaced.FromString(message.data).customer_id for message in messages} & self.refused:
            raise MessagingError(Code.INVALID_ARGUMENT, "refused")
        last = await super().append(messages, expected)
        await self.open.wait()
        if self.lose_acks:
            self.lose_acks -= 1
            raise MessagingError(Code.UNAVAILABLE, "the acknowledgement was lost")
        return last


async def _write(
    database: AnyDatabase, *keys: str, first: int = 0, outbox: Outbox | None = None, customer: str = ""
) -> None:
    async with database.transaction() as tx:
        for number, key in enumerate(keys, start=first):
            event = OrderPlaced(order_id=key, total=number, customer_id=customer)
            await (outbox or Outbox("orders")).write(tx, ORDER_PLACED, event)


def _published(broker: MemoryBroker) -> list[tuple[str, int]]:
    events = [OrderPlaced.FromString(message.data) for message in broker.messages("ORDERS")]
    return [(event.order_id, event.total) for event in events]


def _numbers(broker: MemoryBroker, partition: int) -> list[int]:
    return [number for key, number in _published(broker) if partition_of(key) == partition]


def _keys(*, same_partition: bool = False) -> tuple[str, str]:
    """Return a key, and another of another partition or of the same."""
    others = (f"k{number}" for number in range(1, 999))
    return "k0", next(key for key in others if (partition_of(key) == partition_of("k0")) is same_partition)


async def test_committed_events_are_published_as_they_were_written(database: AnyDatabase) -> None:
    """Subject, id, headers and bytes reach the stream, which is created when it is not there."""
    broker = MemoryBroker()
    async with database.transaction() as tx:
        event_id = await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="o-1"))
    async with Relay(database, broker, options=FAST) as relay:
        await settle(relay)
    (message,) = broker.messages("ORDERS")
    assert message.id == event_id
    assert message.subject == ORDER_PLACED.subject_of("o-1")
    assert message.headers["ce-id"] == event_id
    assert message.headers["ce-type"] == "shop.orders.v1.OrderPlaced"
    assert OrderPlaced.FromString(message.data) == OrderPlaced(order_id="o-1")
    assert relay.processed == 1


async def test_streams_are_made_and_checked_at_the_start(database: AnyDatabase) -> None:
    """Before any event comes: a stream that does not take them is heard of at the start, an outage keeps nobody."""
    broker = MemoryBroker()
    async with Relay(database, broker, events=[ORDER_PLACED], options=FAST):
        assert await broker.holding("ORDERS") is not None
    other = MemoryBroker()
    await other.ensure_stream("ORDERS", ["orders.cancelled.>"])
    with pytest.raises(MessagingError, match=r"orders\.>"):
        await Relay(database, other, events=[ORDER_PLACED], options=FAST).start()
    seen: list[Observation] = []
    away = MemoryBroker()
    away.available = False
    async with Relay(database, away, events=[ORDER_PLACED], options=FAST, observe=seen.append) as relay:
        assert any(isinstance(each, PublishFailed) and each.reason.startswith("at the start") for each in seen)
        away.available = True
        await _write(database, "k0")
        relay.wake()
        await settle(relay)
        assert relay.processed == 1


async def test_order_is_kept_in_each_partition(database: AnyDatabase) -> None:
    """Over several batches every key's events are in the stream in the order of their commits."""
    broker = MemoryBroker()
    keys = [f"k{number % 20}" for number in range(200)]
    for start in range(0, 200, 50):
        await _write(database, *keys[start : start + 50], first=start)
    async with Relay(database, broker, options=RelayOptions(batch=17)) as relay:
        await settle(relay)
    assert sorted(number for _, number in _published(broker)) == list(range(200))
    for partition in range(16):
        assert _numbers(broker, partition) == sorted(_numbers(broker, partition))


async def test_a_row_is_marked_only_after_its_acknowledgement(database: AnyDatabase) -> None:
    """While the broker holds the acknowledgement back, the row counts as not published."""
    broker = Flaky()
    broker.open.clear()
    await _write(database, "k0")
    relay = Relay(database, broker, options=FAST)
    async with relay:
        await until(lambda: broker.tries == 1)
        assert await relay.pending() == 1
        assert relay.processed == 0
        broker.open.set()
        await settle(relay)
    assert relay.processed == 1


async def test_what_was_stored_without_an_acknowledgement_is_found_in_the_stream(database: AnyDatabase) -> None:
    """The relay looks before it publishes again, and needs no window for duplicates: order stays, nothing doubles."""
    broker = Flaky()
    broker.lose_acks = 3
    await _write(database, *["k0"] * 5)
    seen: list[Observation] = []
    relay = Relay(database, broker, options=replace(FAST, batch=2), observe=seen.append)
    async with relay:
        while broker.lose_acks:
            broker.forget_ids()
            await asyncio.sleep(0)
        await settle(relay)
    assert _numbers(broker, partition_of("k0")) == [0, 1, 2, 3, 4]
    assert broker.tries == 3
    assert sum(isinstance(each, PublishFailed) for each in seen) == 3
    told = [each for each in seen if isinstance(each, EventsPublished)]
    assert sum(each.count for each in told) == 5
    assert [len(each.ages) for each in told] == [each.count for each in told]
    assert relay.processed == 5


async def test_each_event_is_told_with_its_age(database: AnyDatabase) -> None:
    """By the database's clock, from when it was written or due, and also where it was found in the stream."""
    broker = Flaky()
    seen: list[Observation] = []
    await _write(database, "k0", "k1", "k2")
    async with database.transaction() as tx:
        await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="k0"), delay=86_400)
        await tx.execute("UPDATE carrick_outbox SET created_at = created_at - 1000 * seq WHERE seq < 3")
        await tx.execute(
            "UPDATE carrick_outbox SET created_at = created_at - 86500, due_at = due_at - 86500 WHERE seq = 4"
        )
    broker.lose_acks = 1
    async with Relay(database, broker, options=FAST, observe=seen.append) as relay:
        await settle(relay)
        await until(lambda: relay.processed == 4)
    ages = sorted(age for each in seen if isinstance(each, EventsPublished) for age in each.ages)
    assert ages == [pytest.approx(age, abs=20) for age in (0, 100, 1000, 2000)]
    assert min(ages) > 0


async def test_nothing_is_lost_while_the_broker_is_away(database: AnyDatabase) -> None:
    """Rows wait without limit and without counting; when the broker is back they go out in order."""
    broker = Flaky()
    broker.available = False
    failed: list[Observation] = []
    relay = Relay(database, broker, options=FAST, observe=failed.append)
    async with relay:
        await _write(database, *["k0"] * 3)
        await until(lambda: len(failed) >= 20)
        await _write(database, *["k0"] * 3, first=3)
        assert await relay.pending() == 6
        broker.available = True
        await settle(relay)
    assert _numbers(broker, partition_of("k0")) == [0, 1, 2, 3, 4, 5]


async def test_a_refused_event_holds_back_its_own_key_only(database: AnyDatabase) -> None:
    """It is put aside with the reason; others go on, those of its partition too; its later ones wait for it."""
    broker = Flaky()
    bad, other = _keys(same_partition=True)
    await _write(database, bad, other, bad, other)
    await _write(database, bad, first=4, customer="poison")
    await _write(database, bad, other, first=5)
    broker.refused = {"poison"}
    seen: list[Observation] = []
    relay = Relay(database, broker, options=FAST, observe=seen.append)
    async with relay:
        await until(lambda: relay.processed == 5)
        await _write(database, bad, other, first=7)
        await until(lambda: relay.processed == 6)
    assert _numbers(broker, partition_of(bad)) == [0, 1, 2, 3, 6, 8]
    (quarantined,) = [each for each in seen if isinstance(each, EventQuarantined)]
    assert quarantined.reason == "refused"
    async with database.read() as tx:
        rows = (
            await tx.execute("SELECT seq, refusal FROM carrick_outbox WHERE published_at IS NULL ORDER BY seq")
        ).all()
    assert [(row.seq, row.refusal) for row in rows] == [(5, "refused"), (6, None), (8, None)]


async def test_however_much_waits_for_a_refused_event_the_others_go_on(database: AnyDatabase) -> None:
    """The relay sees past more rows than a batch has."""
    broker = Flaky()
    bad, good = _keys()
    broker.refused = {"poison"}
    await _write(database, bad, customer="poison")
    await _write(database, *[bad] * 25, good)
    relay = Relay(database, broker, options=replace(FAST, batch=10))
    async with relay:
        await until(lambda: relay.processed == 1, timeout=5)
    assert _numbers(broker, partition_of(good)) == [25]
    assert await relay.pending() == 25


async def test_a_failing_stream_holds_no_other_stream(database: AnyDatabase) -> None:
    """A stream that can't be had keeps its own events waiting only."""
    broker = Flaky()
    broker.refused_streams = {"AUDIT"}
    audit = EventSpec(full_name="a.v1.Audited", subject="audit.done.v1", key="order_id", message=OrderPlaced)
    async with database.transaction() as tx:
        await Outbox("orders").write(tx, audit, OrderPlaced(order_id="k0"))
        await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id="k0"))
    relay = Relay(database, broker, options=FAST)
    async with relay:
        await until(lambda: relay.processed == 1, timeout=5)
        assert len(broker.messages("ORDERS")) == 1
        broker.refused_streams = set()
        await settle(relay)
    assert len(broker.messages("AUDIT")) == 1


async def test_a_stream_that_went_is_made_again(database: AnyDatabase) -> None:
    """A broker that lost its streams gets them back: the relay does not trust what it saw at its start for ever."""
    broker = MemoryBroker()
    await _write(database, "k0")
    relay = Relay(database, broker, options=FAST)
    async with relay:
        await settle(relay)
        broker._streams.clear()
        await _write(database, "k0", first=1)
        await settle(relay, timeout=5)
    assert _published(broker) == [("k0", 1)]


async def test_commits_during_an_outage_do_not_make_the_relay_hot(database: AnyDatabase) -> None:
    """A wake ends the rest after work, not the rest after a failure: each commit would be a try otherwise."""
    broker = Flaky()
    broker.available = False
    failed: list[Observation] = []
    relay = Relay(database, broker, options=RelayOptions(backoff=60.0, flush=0.1), observe=failed.append)
    async with relay:
        await _write(database, "k0", outbox=Outbox("orders", wake=relay.wake))
        await until(lambda: "PublishFailed" in [type(each).__name__ for each in failed])
        for number in range(1, 20):
            await _write(database, "k0", first=number, outbox=Outbox("orders", wake=relay.wake))
        assert [type(each).__name__ for each in failed].count("PublishFailed") == 1


async def test_a_wake_ends_the_rest(database: AnyDatabase) -> None:
    """With the outbox's wake the relay need not poll."""
    broker = MemoryBroker()
    relay = Relay(database, broker, options=RelayOptions(poll=3600.0))
    outbox = Outbox("orders", wake=relay.wake)
    async with relay:
        for number in range(3):
            await _write(database, "k0", first=number, outbox=outbox)
            await settle(relay)
    assert [number for _, number in _published(broker)] == [0, 1, 2]


async def test_a_stop_publishes_what_is_left(database: AnyDatabase) -> None:
    """Rows that nobody told the relay of are flushed when it stops."""
    broker = MemoryBroker()
    relay = Relay(database, broker, options=RelayOptions(poll=3600.0, batch=3))
    async with relay:
        await until(lambda: relay._loop._task is not None)
        await asyncio.sleep(0.05)
        await _write(database, *["k0"] * 10)
    assert [number for _, number in _published(broker)] == list(range(10))
    assert await relay.pending() == 0


async def test_a_stop_without_a_broker_ends_and_says_so(database: AnyDatabase) -> None:
    """What can't be flushed stays for the next start."""
    broker = MemoryBroker()
    broker.available = False
    seen: list[Observation] = []
    await _write(database, "k0")
    async with Relay(database, broker, options=FAST, observe=seen.append) as relay:
        pass
    (failed,) = [each for each in seen if isinstance(each, PublishFailed) and each.delay == 0.0]
    assert failed.reason.startswith("at the stop: ")
    assert await relay.pending() == 1
    broker.available = True
    async with Relay(database, broker, options=FAST) as again:
        await settle(again)
    assert _published(broker) == [("k0", 0)]


async def test_a_stop_with_a_silent_broker_ends(database: AnyDatabase) -> None:
    """A flush whose acknowledgement does not come is given up after its time."""
    broker = Flaky()
    broker.open.clear()
    await _write(database, "k0")
    relay = Relay(database, broker, options=RelayOptions(flush=0.05))
    await relay.stop()
    assert await relay.pending() == 1


async def test_purge_takes_only_what_was_published_long_ago(database: AnyDatabase) -> None:
    """Neither a young published row nor an old unpublished one goes."""
    broker = MemoryBroker()
    relay = Relay(database, broker, options=RelayOptions(retention=3600.0, poll=0.02))
    await _write(database, "old 1", "old 2", "old 3", "young")
    async with relay:
        await settle(relay)
    await _write(database, "waiting")
    async with database.transaction() as tx:
        await tx.execute("UPDATE carrick_outbox SET created_at = created_at - 1000000")
        await tx.execute("UPDATE carrick_outbox SET published_at = published_at - 4000 WHERE key LIKE 'old%'")
    assert [await relay.purge(most=2) for _ in range(3)] == [2, 1, 0]
    async with database.read() as tx:
        left = [row.key for row in (await tx.execute("SELECT key FROM carrick_outbox ORDER BY seq")).all()]
    assert left == ["young", "waiting"]
    assert await relay.pending() == 1


@pytest.mark.parametrize("name", ["batch", "batch_bytes", "poll", "backoff", "lease", "retention", "flush"])
def test_options_are_checked(name: str) -> None:
    """Nothing may be zero or less: the relay would never work or never rest."""
    with pytest.raises(ConfigurationError, match=f"{name} must be above 0, not 0"):
        RelayOptions(**{name: 0})


async def test_events_without_an_order_do_not_wait_for_a_refused_one(database: AnyDatabase) -> None:
    """Neither in its batch nor later; those of the key that have an order do not wait for it either."""
    loose = EventSpec(
        full_name="a.v1.Loose", subject="orders.loose.v1", key="order_id", message=OrderPlaced, unordered=True
    )
    broker = Flaky()
    broker.refused = {"poison"}
    source = Outbox("orders")
    async with database.transaction() as tx:
        await source.write(tx, loose, OrderPlaced(order_id="k0", total=0, customer_id="poison"))
        await source.write(tx, loose, OrderPlaced(order_id="k0", total=1))
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=2))
    relay = Relay(database, broker, options=FAST)
    async with relay:
        await until(lambda: relay.processed == 2)
        async with database.transaction() as tx:
            await source.write_all(tx, [(loose, OrderPlaced(order_id="k0", total=each)) for each in (3, 4)])
        await until(lambda: relay.processed == 4)
    assert [number for _, number in _published(broker)] == [1, 2, 3, 4]


async def test_an_event_waits_for_its_time(database: AnyDatabase) -> None:
    """It is not published before, others of its key do not wait for it, and the relay does not sleep past it."""
    broker = MemoryBroker()
    source = Outbox("orders")
    relay = Relay(database, broker, options=replace(FAST, poll=3600.0, lease=3600.0))
    async with database.transaction() as tx:
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=1), delay=0.4)
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=2))
    async with relay:
        await until(lambda: relay.processed == 1)
        assert [number for _, number in _published(broker)] == [2]
        await until(lambda: relay.processed == 2)
    assert [number for _, number in _published(broker)] == [2, 1]


async def test_an_event_whose_time_is_over_is_not_published(database: AnyDatabase) -> None:
    """It is marked as settled, with the reason, and said."""
    broker = MemoryBroker()
    source = Outbox("orders")
    async with database.transaction() as tx:
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=1), expires_in=0.001)
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=2), expires_in=3600)
        await source.write(tx, ORDER_PLACED, OrderPlaced(order_id="k0", total=3))
    await asyncio.sleep(0.01)
    seen: list[Observation] = []
    async with Relay(database, broker, options=FAST, observe=seen.append) as relay:
        await settle(relay)
    assert [number for _, number in _published(broker)] == [2, 3]
    assert [type(each) for each in seen].count(EventExpired) == 1
    async with database.read() as tx:
        rows = (await tx.execute("SELECT refusal FROM carrick_outbox ORDER BY seq")).all()
    assert [row.refusal for row in rows] == ["expired", None, None]
