"""The numbers of an outbox, on both databases."""

import asyncio

import pytest

from carrick.errors import ConfigurationError, StoreError
from carrick.outbox import Outbox, OutboxWatch, table
from carrick.outbox.watch import OutboxSnapshot, snapshot_of
from carrick.store.sqlite import SqliteDatabase
from tests.unit.outbox.rows import ANOTHER, change, write
from tests.unit.store.places import AnyDatabase
from tests.unit.testing.programs import until


async def _look(database: AnyDatabase) -> OutboxSnapshot:
    watch = OutboxWatch(database)
    await watch.look()
    assert watch.snapshot is not None
    assert (watch.depth, watch.oldest) == (watch.snapshot.depth, watch.snapshot.oldest_seconds)
    return watch.snapshot


async def test_an_empty_outbox(either: AnyDatabase) -> None:
    """Nothing waits, nobody is there."""
    assert await _look(either) == OutboxSnapshot(
        depth=0, oldest_seconds=0.0, quarantined=0, epochs=dict.fromkeys(range(16), 0), relays=0
    )


async def test_what_is_there(either: AnyDatabase) -> None:
    """Each number is of what it says it is of."""
    sent, expired, refused, oldest, _ = await write(either, "k", "k", "j", "i", "h")
    async with either.transaction() as tx:
        await Outbox("orders").write(tx, ANOTHER, ANOTHER.message(order_id="l"), delay=60)
        now = await table.clock(tx)
        await table.beat(tx, owner="o", name="one", ttl=30.0)
        await table.take(tx, owner="o", ttl=30.0, most=5)
    await change(either, "published_at = :now", [sent], now=now)
    await change(either, "published_at = :now, refusal = 'expired'", [expired], now=now)
    await change(either, "refused_at = :now, refusal = 'no'", [refused], now=now)
    await change(either, "created_at = :then", [oldest], then=now - 40)
    found = await _look(either)
    assert (found.depth, found.quarantined, found.relays) == (2, 1, 1)
    assert [found.epochs[partition] for partition in range(16)] == [1] * 5 + [0] * 11
    assert found.oldest_seconds == pytest.approx(40, abs=20)


async def test_what_stands_behind_a_refused_event_does_not_grow_old(either: AnyDatabase) -> None:
    """It waits for somebody's decision: that others are refused would not help it. It is counted all the same."""
    refused, behind, free = await write(either, "k", "k", "j")
    async with either.transaction() as tx:
        now = await table.clock(tx)
    await change(either, "created_at = :then", [refused, behind], then=now - 1000)
    await change(either, "created_at = :then", [free], then=now - 100)
    assert (await _look(either)).oldest_seconds == pytest.approx(1000, abs=20)
    await change(either, "refused_at = :now", [refused], now=now)
    found = await _look(either)
    assert (found.depth, found.quarantined) == (2, 1)
    assert found.oldest_seconds == pytest.approx(100, abs=20)
    await change(either, "published_at = :now", [free], now=now)
    assert (await _look(either)).oldest_seconds == 0


async def test_an_event_that_was_to_wait_is_as_old_as_its_time(either: AnyDatabase) -> None:
    """A reminder that is due after a day is not a day late then."""
    async with either.transaction() as tx:
        event_id = await Outbox("orders").write(tx, ANOTHER, ANOTHER.message(order_id="k"), delay=86_400)
        now = await table.clock(tx)
    await change(either, "created_at = created_at - 86430, due_at = due_at - 86430", [event_id])
    async with either.transaction() as tx:
        assert await table.publish_due(tx, 10) == 1
    assert (await _look(either)).oldest_seconds == pytest.approx(30, abs=20)
    await change(
        either, "created_at = :now, due_at = :then", [event_id], now=now, then=now - 100
    )  # "at", and it had come before
    async with either.transaction() as tx:
        assert await table.publish_due(tx, 10) == 1
    assert (await _look(either)).oldest_seconds < 20


async def test_counting_has_an_end(either: AnyDatabase) -> None:
    """A backlog of millions costs no more than one of a million."""
    ids = await write(either, *"abcde")
    await change(either, "refused_at = 1", ids[:2])
    async with either.read() as tx:
        found = await snapshot_of(tx, most=1)
    assert (found.depth, found.quarantined) == (1, 1)


async def test_a_watch_keeps_what_it_saw(database: SqliteDatabase) -> None:
    """Until the database is away: then it says that it knows nothing, and whoever sheds goes by what was last seen."""
    with pytest.raises(ConfigurationError):
        OutboxWatch(database, interval=0)
    await write(database, "k")
    async with OutboxWatch(database, interval=0.02) as watch:
        await until(lambda: watch.snapshot is not None and watch.depth == 1)
        await write(database, "k")
        await until(lambda: watch.snapshot is not None and watch.snapshot.depth == 2)
        await database.close()
        with pytest.raises(StoreError):
            await watch.look()
        assert (watch.snapshot, watch.depth) == (None, 2)
        await asyncio.sleep(0.1)
        assert (watch.snapshot, watch.depth) == (None, 2)


async def test_a_watch_looks_less_often_where_that_takes_long(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of the time at most."""
    looks = 0

    async def slow(tx: object) -> OutboxSnapshot:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.05)
        return OutboxSnapshot(depth=0, oldest_seconds=0.0, quarantined=0, epochs={}, relays=0)

    monkeypatch.setattr("carrick.outbox.watch.snapshot_of", slow)
    async with OutboxWatch(database, interval=0.001):
        await asyncio.sleep(0.4)
    assert looks == 1
