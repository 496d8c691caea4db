"""Records and inbox where writers run side by side: what SQLite's one writer rules out, PostgreSQL must refuse."""

import asyncio
import contextvars
from collections.abc import AsyncIterator

import pytest

from carrick import store
from carrick.claim import Claimed, InFlight, Receipt, Replay
from carrick.context import Call, Context, enter
from carrick.errors import DuplicateEventError
from carrick.store import IdempotencyRecords, Inbox
from carrick.store.postgres import PostgresDatabase
from shop.orders.v1.orders_carrick import PLACE_ORDER
from shop.orders.v1.orders_pb2 import PlaceOrderResponse

EXPIRED = "UPDATE carrick_idempotency SET expires_at = 1.0"


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A database with the store's tables."""
    async with PostgresDatabase(postgres_url, migrations=[store.MIGRATIONS]) as opened:
        yield opened


async def _execute(db: PostgresDatabase, sql: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(sql)


async def test_a_purge_does_not_remove_what_is_claimed_anew(db: PostgresDatabase) -> None:
    """An expired record that somebody takes over at that moment is neither waited for nor removed."""
    records = IdempotencyRecords(db)
    assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), Claimed)
    await _execute(db, EXPIRED)
    async with db.transaction() as tx:
        await tx.execute(
            "UPDATE carrick_idempotency SET expires_at = expires_at + 1e12, lease = 1e12, lease_until = 1e12"
        )
        purging = asyncio.create_task(records.purge(), context=contextvars.Context())
        assert await purging == 0
    assert await records.purge() == 0
    assert isinstance(await records.claim(PLACE_ORDER, "k", b"f", 30.0), InFlight)


async def test_purges_at_once_share_the_work(db: PostgresDatabase) -> None:
    """Of two services that purge at the same time none waits for the other, and nothing is counted twice."""
    inbox = Inbox(db, retention=1.0)
    await _execute(db, "INSERT INTO carrick_inbox SELECT 'c', n::text, n FROM generate_series(1, 100) AS n")
    removed = await asyncio.gather(*(inbox.purge(most=20) for _ in range(4)))
    assert all(count <= 20 for count in removed)
    rest = [await inbox.purge(most=100) for _ in range(2)]
    assert sum(removed) + sum(rest) == 100


async def test_claims_and_purges_at_once_execute_once(db: PostgresDatabase) -> None:
    """However expired records are claimed and purged side by side, one execution of many has its effect."""
    records = IdempotencyRecords(db)
    await _execute(db, "CREATE TABLE effects (key TEXT)")

    async def handle(key: str) -> bool:
        outcome = await records.claim(PLACE_ORDER, key, b"f", 30.0)
        if not isinstance(outcome, Claimed):
            assert isinstance(outcome, (InFlight, Replay))
            return False
        call = Call()
        call.claim = outcome.claim
        with enter(Context(PLACE_ORDER, call=call)):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO effects VALUES (:key)", {"key": key})
                await tx.reply(PlaceOrderResponse(order_id=key))
        return True

    for number in range(20):
        key = f"k{number}"
        await records.claim(PLACE_ORDER, key, b"f", 30.0)
        await _execute(db, EXPIRED)
        work = [handle(key), records.purge(), handle(key), records.purge(), handle(key)]
        done = await asyncio.gather(*work)
        assert [done[0], done[2], done[4]].count(True) == 1
    async with db.read() as tx:
        assert (await tx.execute("SELECT count(*) FROM effects")).scalar_one() == 20


async def test_a_second_delivery_waits_for_the_first(db: PostgresDatabase) -> None:
    """Which of two transactions has the receipt is known when the first has ended: committed, the second is undone."""
    first_in, may_end = asyncio.Event(), asyncio.Event()

    async def handle(fail: bool) -> Receipt:
        call = Call()
        call.receipt = Receipt("c", "1")
        with enter(Context(None, call=call)):
            async with db.transaction() as tx:
                await tx.handled()
                first_in.set()
                await may_end.wait()
                if fail:
                    raise KeyError
        return call.receipt

    for fails, expected in ((True, Receipt), (False, DuplicateEventError)):
        await _execute(db, "DELETE FROM carrick_inbox")
        first_in.clear()
        may_end.clear()
        first = asyncio.create_task(handle(fails))
        await first_in.wait()
        second = asyncio.create_task(handle(False))
        may_end.set()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert type(results[1]) is expected
