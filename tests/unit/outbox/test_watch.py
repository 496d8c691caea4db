"""The numbers of an outbox, on both databases."""

import pytest

from carrick.errors import ConfigurationError, StoreError
from carrick.outbox import table
from carrick.outbox.watch import OutboxSnapshot, OutboxWatch, observed
from carrick.store.sqlite import SqliteDatabase
from tests.unit.outbox.rows import change, write
from tests.unit.store.places import AnyDatabase
from tests.unit.testing.programs import until


async def test_an_empty_outbox(either: AnyDatabase) -> None:
    """Nothing is late, nobody is there."""
    assert await observed(either) == OutboxSnapshot(
        depth=0, oldest_seconds=0.0, quarantined=0, lag_seconds=None, epochs=0, relays=0
    )


async def test_what_is_there(either: AnyDatabase) -> None:
    """Depth, age and lag are of what they say they are of."""
    sent, expired, refused, _, _ = await write(either, "k", "k", "j", "i", "h")
    async with either.transaction() as tx:
        now = await table.clock(tx)
        await table.beat(tx, owner="o", name="one", ttl=30.0)
        await table.take(tx, owner="o", ttl=30.0, most=5)
    await change(either, "created_at = :then, published_at = :now", [sent], now=now, then=now - 4)
    await change(either, "published_at = :now, refusal = 'expired'", [expired], now=now)
    await change(either, "refused_at = :now, refusal = 'no'", [refused], now=now)
    found = await observed(either)
    assert (found.depth, found.quarantined, found.epochs, found.relays) == (2, 1, 5, 1)
    assert found.lag_seconds == pytest.approx(4)
    assert 0 <= found.oldest_seconds < 60


async def test_a_watch_keeps_what_it_saw(database: SqliteDatabase) -> None:
    """Until the database is away: then it has nothing to say."""
    with pytest.raises(ConfigurationError):
        OutboxWatch(database, interval=0)
    await write(database, "k")
    async with OutboxWatch(database, interval=0.02) as watch:
        await until(lambda: watch.snapshot is not None and watch.snapshot.depth == 1)
        await write(database, "k")
        await until(lambda: watch.snapshot is not None and watch.snapshot.depth == 2)
        await database.close()
        with pytest.raises(StoreError):
            await observed(database)
        await until(lambda: watch.snapshot is None)
