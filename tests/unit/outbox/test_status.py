"""What the outbox says of itself, on both databases."""

import pytest

from carrick.errors import OutboxError
from carrick.event import partition_of
from carrick.outbox import Relay, RelayOptions, table
from carrick.outbox.quarantine import quarantined
from carrick.outbox.status import Position, require_outbox, status
from carrick.testing import MemoryBroker, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from tests.unit.outbox.rows import change, write
from tests.unit.store.places import AnyDatabase, Place


async def test_an_empty_outbox(either: AnyDatabase) -> None:
    """Nothing waits, nobody is there, and every partition is listed."""
    async with either.read() as tx:
        await require_outbox(tx)
        found = await status(tx)
    assert (found.pending, found.waiting, found.quarantined, found.blocked, found.published, found.given_up) == (0,) * 6
    assert found.oldest_pending_seconds is None
    assert found.relays == ()
    assert found.positions == ()
    assert [each.partition for each in found.partitions] == list(range(16))
    assert {(each.depth, each.relay, each.lease_seconds) for each in found.partitions} == {(0, None, None)}


async def test_events_are_counted_by_what_they_wait_for(either: AnyDatabase) -> None:
    """Pending, waiting, quarantined, blocked, published, given up: each is counted as what it is."""
    first, second, _, other, late, sent, expired, dropped, old = await write(
        either, "k", "k", "k", "other", "late", "sent", "expired", "dropped", "old"
    )
    async with either.read() as tx:
        now = await table.clock(tx)
    await change(either, "refused_at = :now, refusal = 'too large'", [first], now=now)
    await change(either, "created_at = :then", [second], then=now - 60)
    await change(either, "created_at = :then", [other], then=now - 30)
    await change(either, "due_at = :then", [late], then=now + 60)
    await change(either, "published_at = :now", [sent], now=now)
    await change(either, "published_at = :now, refusal = 'expired'", [expired], now=now)
    await change(either, "published_at = :now, refused_at = :now, refusal = 'too large'", [dropped], now=now)
    await change(either, "published_at = :then", [old], then=now - 600)
    async with either.read() as tx:
        found = await status(tx)
    assert found.pending == 3
    assert found.waiting == 1
    assert found.quarantined == 1
    assert found.blocked == 2
    assert found.published == 2
    assert found.given_up == 2
    assert found.published_per_second == pytest.approx(1 / 60)
    assert found.oldest_pending_seconds == pytest.approx(60, abs=20)
    assert found.partitions[partition_of("k")].depth >= 2
    oldest = found.partitions[partition_of("other")].oldest_seconds
    assert oldest is not None
    assert oldest >= 30


async def test_events_without_order_are_not_blocked(either: AnyDatabase) -> None:
    """Neither do they wait for a refused one, nor does any wait for them."""
    first, second, _ = await write(either, "k", "k", "k")
    await change(either, "refused_at = 1, refusal = 'too large'", [first])
    await change(either, "unordered = (1 = 1)", [second])
    async with either.read() as tx:
        assert (await status(tx)).blocked == 1
        assert [event.behind for event in await quarantined(tx)] == [1]
    await change(either, "unordered = (1 = 1)", [first])
    async with either.read() as tx:
        assert (await status(tx)).blocked == 0
        assert [event.behind for event in await quarantined(tx)] == [0]


async def test_relays_and_places_are_told(either: AnyDatabase) -> None:
    """Who holds which partition, since which change of hands, until when; and how far the stream is known."""
    await write(either, "k0")
    async with Relay(either, MemoryBroker(), name="one", options=RelayOptions(poll=0.02, lease=30.0)) as relay:
        await settle(relay)
        async with either.read() as tx:
            found = await status(tx)
    (there,) = found.relays
    assert (there.name, there.partitions) == ("one", 16)
    assert {(each.relay, each.owner, each.epoch) for each in found.partitions} == {("one", there.owner, 1)}
    assert all(each.lease_seconds is not None and 0 < each.lease_seconds <= 30 for each in found.partitions)
    assert found.positions == (Position(stream="ORDERS", subject=ORDER_PLACED.subject_of("k0"), sequence=1),)
    async with either.read() as tx:
        left = await status(tx)
    assert left.relays == ()
    assert {each.relay for each in left.partitions} == {None}


async def test_a_lease_that_has_ended_is_nobodys(either: AnyDatabase) -> None:
    """A relay that was killed holds nothing when its time is over."""
    async with either.transaction() as tx:
        await table.beat(tx, owner="o1", name="one", ttl=30.0)
        await table.take(tx, owner="o1", ttl=30.0, most=3)
        await table.take(tx, owner="unheard-of", ttl=30.0, most=1)
        await tx.execute("UPDATE carrick_outbox_lease SET until = 1 WHERE partition = 0")
    async with either.read() as tx:
        found = await status(tx)
    assert [each.relay for each in found.partitions[:5]] == [None, "one", "one", "unheard-", None]
    assert [relay.partitions for relay in found.relays] == [2]


async def test_a_lease_from_before_the_clock_was_set_back_is_nobodys(either: AnyDatabase) -> None:
    """Nor is the relay there that left it."""
    async with either.transaction() as tx:
        await table.beat(tx, owner="o1", name="one", ttl=30.0)
        await table.take(tx, owner="o1", ttl=30.0, most=16)
        await tx.execute("UPDATE carrick_outbox_lease SET until = until + 3600")
    async with either.read() as tx:
        found = await status(tx)
    assert {each.relay for each in found.partitions} == {None}
    assert [relay.partitions for relay in found.relays] == [0]
    async with either.transaction() as tx:
        await tx.execute("UPDATE carrick_outbox_relay SET until = until + 3600")
    async with either.read() as tx:
        assert (await status(tx)).relays == ()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_database_without_outbox_is_told(kind: str, request: pytest.FixtureRequest) -> None:
    """It may be another service's."""
    path = request.getfixturevalue("tmp_path") / "test.db"
    place = Place(path if kind == "sqlite" else request.getfixturevalue("postgres_url"))
    async with place.database() as database, database.read() as tx:
        with pytest.raises(OutboxError, match="no outbox in this database"):
            await require_outbox(tx)
