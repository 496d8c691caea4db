"""After disasters of a real NATS: what it lost is found and published again, by relays that never stopped."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest

from carrick import outbox
from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.outbox.reconcile import Comparison
from carrick.testing import NatsServer
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.store.places import AnyDatabase, Place
from tests.unit.testing.programs import until

FAST = RelayOptions(poll=0.02, backoff=0.1, batch=40, lease=5.0)
KEYS = 7


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyDatabase]:
    """Return a new database of each kind with an outbox."""
    place = Place(tmp_path / "test.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    async with place.database(migrations=[outbox.MIGRATIONS]) as opened:
        yield opened


@asynccontextmanager
async def _relay(database: AnyDatabase, url: str) -> AsyncIterator[None]:
    async with NatsBroker(url, name="relay") as broker, Relay(database, broker, options=FAST):
        yield


async def _write(database: AnyDatabase, count: int) -> list[str]:
    """Write events, and return their ids when all are published."""
    async with database.transaction() as tx:
        ids = [
            await Outbox("orders").write(tx, ORDER_PLACED, OrderPlaced(order_id=f"k{number % KEYS}"))
            for number in range(count)
        ]
    await _published(database)
    return ids


async def _published(database: AnyDatabase) -> None:
    async def all_are() -> bool:
        async with database.read() as tx:
            left = await tx.execute("SELECT count(*) AS left FROM carrick_outbox WHERE published_at IS NULL")
            return bool(left.scalar_one() == 0)

    await until(all_are, timeout=30)


async def _stored(url: str) -> list[str]:
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info("ORDERS")).state
        found = [await jetstream.get_msg("ORDERS", each) for each in range(state.first_seq, state.last_seq + 1)]
        return [(message.headers or {})["Nats-Msg-Id"] for message in found]
    finally:
        await client.close()


def _of(key: int, ids: Sequence[str]) -> list[str]:
    return list(ids[key::KEYS])


async def test_a_stream_that_lost_its_end(database: AnyDatabase, nats_server: NatsServer, tmp_path: Path) -> None:
    """A server that came back from yesterday's disk: the relay goes on at once, and the gap is filled on demand."""
    store, copy = tmp_path / "nats" / "jetstream", tmp_path / "yesterday"
    async with _relay(database, nats_server.url):
        kept = await _write(database, 70)
        nats_server.stop()
        shutil.copytree(store, copy)
        nats_server.start()
        lost = await _write(database, 140)
        nats_server.stop()
        shutil.rmtree(store)
        shutil.copytree(copy, store)
        nats_server.start()
        after = await _write(database, 35)
        assert sorted(await _stored(nats_server.url)) == sorted(kept + after)
        async with NatsBroker(nats_server.url, name="test") as broker, Comparison(database, broker) as comparison:
            (stream,) = await comparison.compare()
            assert (stream.there, stream.missing, stream.removed) == (True, 140, 0)
            assert await comparison.restore() == 140
            last = await _write(database, 14)
        stored = await _stored(nats_server.url)
    assert set(Counter(stored).values()) == {1}
    assert set(stored) == {*kept, *after, *lost, *last}
    for key in range(KEYS):
        again = {*_of(key, lost), *_of(key, last)}
        assert [each for each in stored if each in again] == _of(key, lost) + _of(key, last)


async def test_a_stream_that_was_deleted(database: AnyDatabase, nats_server: NatsServer) -> None:
    """The relay makes it anew; what was published before is published again, after what came meanwhile."""
    async with _relay(database, nats_server.url):
        lost = await _write(database, 140)
        client = await nats.connect(nats_server.url)
        await client.jetstream().delete_stream("ORDERS")
        await client.close()
        async with NatsBroker(nats_server.url, name="test") as broker, Comparison(database, broker) as comparison:
            (stream,) = await comparison.compare()
            assert (stream.there, stream.missing) == (False, 140)
        after = await _write(database, 35)
        async with NatsBroker(nats_server.url, name="test") as broker, Comparison(database, broker) as comparison:
            (stream,) = await comparison.compare()
            assert (stream.there, stream.missing) == (True, 140)
            assert await comparison.restore() == 140
            await _published(database)
            (stream,) = await comparison.compare()
            assert stream.missing == 0
        stored = await _stored(nats_server.url)
    assert set(Counter(stored).values()) == {1}
    assert set(stored) == {*lost, *after}
    for key in range(KEYS):
        assert [each for each in stored if each in set(_of(key, lost))] == _of(key, lost)


async def test_what_a_limit_removed_is_left_alone(database: AnyDatabase, nats_server: NatsServer) -> None:
    """A stream that keeps a hundred messages has not lost the others; a message lost amid is missing."""
    client = await nats.connect(nats_server.url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name="ORDERS", subjects=["orders.>"], max_msgs=100, allow_atomic=True)
    async with _relay(database, nats_server.url):
        await _write(database, 140)
        state = (await jetstream.stream_info("ORDERS")).state
        await jetstream.delete_msg("ORDERS", state.last_seq - 20)
        async with NatsBroker(nats_server.url, name="test") as broker, Comparison(database, broker) as comparison:
            (stream,) = await comparison.compare()
    await client.close()
    assert (stream.missing, stream.removed) == (1, 40)
    assert stream.removes == "the oldest when there are too many"
