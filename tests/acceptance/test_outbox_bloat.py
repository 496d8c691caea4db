"""The outbox's tables and indexes on PostgreSQL, while events are written, published and removed for a long time.

``make torture-outbox`` leaves it to autovacuum, over many rounds; ``make test`` vacuums by hand, so that the sizes do
not depend on when autovacuum comes.
"""

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import MIGRATIONS, Outbox, Relay, RelayOptions
from carrick.store.housekeeping import Housekeeping
from carrick.store.postgres import PostgresDatabase
from carrick.testing import NatsServer, PostgresServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.unit.testing.programs import until

ROUNDS = int(os.environ.get("CARRICK_BLOAT_ROUNDS", "9"))
BY_HAND = "CARRICK_BLOAT_ROUNDS" not in os.environ
EACH = 2_000
AT_ONCE = 40
SOME_PAGES = 65_536
_SIZES = """
    SELECT relname AS name, pg_relation_size(oid) AS bytes FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND relname LIKE 'carrick_outbox%'
    UNION ALL
    SELECT 'total', sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'carrick_outbox%'
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Return a PostgreSQL whose autovacuum looks around each second, or not at all."""
    settings = {"autovacuum": "off"} if BY_HAND else {"autovacuum_naptime": "1s"}
    with PostgresServer(fsync=False, settings=settings) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Return an empty database."""
    return server.create_database()


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    """Return an outbox of this test's own."""
    async with PostgresDatabase(url, migrations=[MIGRATIONS]) as database:
        yield database


async def test_the_outbox_does_not_grow_with_the_events_that_passed(
    server: PostgresServer, url: str, database: PostgresDatabase, nats_server: NatsServer
) -> None:
    """In the last third of the rounds nothing is twice as large as in the first: with the events it would be thrice."""
    sizes = list[dict[str, int]]()
    async with NatsBroker(nats_server.url, name="relay") as broker:
        relay = Relay(database, broker, options=RelayOptions(poll=0.02, retention=0.2))
        async with relay, Housekeeping(relay.purge, interval=0.05):
            for _ in range(ROUNDS):
                await _write(database, EACH)
                await settle(relay, timeout=60)
                if BY_HAND:
                    await until(partial(_is_empty, database))
                    server.sql("VACUUM (TRUNCATE off)", url=url)
                sizes.append(await _sizes(database))
        holding = await broker.holding("ORDERS")
    assert holding is not None
    assert holding.messages == ROUNDS * EACH
    first, last = _largest(sizes[: ROUNDS // 3]), _largest(sizes[-ROUNDS // 3 :])
    for name in sorted(last):
        print(f"{name:32} {' '.join(f'{each[name] // 1024:6}' for each in sizes[:: ROUNDS // 9])} KiB")
    grown = {name: (first[name], size) for name, size in last.items() if size > 2 * first[name] + SOME_PAGES}
    assert not grown


async def _write(database: PostgresDatabase, count: int) -> None:
    source = Outbox("orders")
    for start in range(0, count, AT_ONCE):
        events = [(ORDER_PLACED, OrderPlaced(order_id=f"k{number % 997}")) for number in range(start, start + AT_ONCE)]
        async with database.transaction() as tx:
            await source.write_all(tx, events)


async def _is_empty(database: PostgresDatabase) -> bool:
    async with database.read() as tx:
        return bool((await tx.execute("SELECT count(*) = 0 AS empty FROM carrick_outbox")).scalar_one())


async def _sizes(database: PostgresDatabase) -> dict[str, int]:
    async with database.read() as tx:
        return {row.name: int(row.bytes) for row in (await tx.execute(_SIZES)).all()}


def _largest(sizes: list[dict[str, int]]) -> dict[str, int]:
    return {name: max(each[name] for each in sizes) for name in sizes[0]}
