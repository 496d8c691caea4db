"""PostgreSQL that dies, and connections of it that do, while writers write and relays publish."""

import asyncio
import random
from contextlib import ExitStack
from functools import partial

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Outbox, Relay, RelayOptions
from carrick.store.postgres_signal import PostgresSignal
from carrick.testing import NatsServer, PostgresServer, settle
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.acceptance.relays import AnyDatabase, all_published, audit, counts, database_at
from tests.unit.testing.programs import program, until

ME = "tests.acceptance.relays"
KILLS = 3
EACH = 100
UNTIL_TOLD = RelayOptions(poll=600.0, lease=1800.0)  # it looks at the table when it is told to, and hardly otherwise


async def test_a_killed_postgres_loses_and_doubles_nothing(
    postgres_server: PostgresServer, stream: NatsServer, processes: ExitStack
) -> None:
    """It dies three times while two writers write and two relays publish; all of them go on by themselves."""
    where = postgres_server.create_database()
    async with database_at(where) as database, NatsBroker(stream.url, name="audit") as broker:
        relays = [processes.enter_context(program("-m", ME, "relay", where, stream.url)) for _ in range(2)]
        for _ in range(KILLS):
            _, before = await counts(database)
            writers = [processes.enter_context(program("-m", ME, "write", where, str(EACH), "20")) for _ in range(2)]
            await until(partial(_published, database, before + random.randint(1, EACH)))
            await asyncio.to_thread(postgres_server.kill)
            await asyncio.to_thread(postgres_server.start)
            async with asyncio.timeout(60):
                assert [await asyncio.to_thread(writer.wait) for writer in writers] == [0, 0]
        await until(partial(all_published, database))
        assert [relay.poll() for relay in relays] == [None, None]
        assert await audit(database, broker) >= 2 * KILLS * EACH


async def test_a_lost_listening_connection_loses_no_event(postgres_server: PostgresServer, stream: NatsServer) -> None:
    """What is written while nobody listens is published when the connection is back, by a relay that never polls."""
    where = postgres_server.create_database()
    heard, sent = PostgresSignal(where), PostgresSignal(where)
    async with database_at(where) as database, NatsBroker(stream.url, name="relay") as broker:
        relay = Relay(database, broker, options=UNTIL_TOLD)
        heard.listen(relay.wake)
        async with relay, heard, sent:
            await _write_one(database, sent)
            await settle(relay)
            for _ in range(20):
                await until(partial(_listening, postgres_server))
                lost = postgres_server.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                )
                assert lost == ["t"]
                await _write_one(database, sent)
                await _write_one(database, sent)
                await until(partial(all_published, database))
        assert await audit(database, broker) == 41


async def _write_one(database: AnyDatabase, signal: PostgresSignal) -> None:
    async with database.transaction() as tx:
        await Outbox("orders", wake=signal.send).write(tx, ORDER_PLACED, OrderPlaced(order_id="k"))


def _listening(server: PostgresServer) -> bool:
    """Say whether there is one connection that has done nothing but listen: the other one has sent."""
    return server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == ["1"]


async def _published(database: AnyDatabase, count: int) -> bool:
    return (await counts(database))[1] >= count
