"""How fast other outboxes of Python drain their tables, each set up as its documentation says.

``nats-outbox`` publishes one event after the other. ``faststream-outbox`` has one worker and fetches ten rows unless it
is told otherwise; ``tuned`` is with the settings that its page on performance names for throughput, which give up the
order. It publishes to the stream, and waits for the acknowledgement, only when it is told the stream's name.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import nats

from carrick.testing import NatsServer, PostgresServer
from tests.bench.outbox.rows import EVENT_BYTES, headers_of
from tests.bench.outbox.scratch import scratch

__all__ = ["PEERS", "drain_peer"]

Peer: TypeAlias = Callable[[str, str, int], Awaitable[float]]

_SUBJECT = "orders.placed.v1.p00"
_PATIENCE = 300.0
_LOOK_EVERY = 0.02
_TUNED: Mapping[str, Any] = {
    "max_workers": 8,
    "fetch_batch_size": 100,
    "terminal_flush_batch_size": 100,
    "min_fetch_interval": 0.1,
}


def drain_peer(peer: str, *, always: bool, count: int, postgres: PostgresServer) -> float:
    """Drain ``count`` rows of a new table of its own into a new stream; return events a second."""
    return asyncio.run(_drain(peer, always=always, count=count, postgres=postgres))


async def _drain(peer: str, *, always: bool, count: int, postgres: PostgresServer) -> float:
    with scratch() as folder, NatsServer(folder / "nats", sync_always=always) as server:
        url = postgres.create_database()
        try:
            driver = url.replace("postgresql://", "postgresql+asyncpg://")
            return await PEERS[peer](driver, server.url, count)
        finally:
            postgres.drop_database(url)


async def _nats_outbox(database: str, broker: str, count: int) -> float:
    from nats_outbox.core.models import OutboxEvent, create_tables
    from nats_outbox.publishers.nats_publisher import NatsPublisher
    from nats_outbox.relay.polling import PollingRelay
    from nats_outbox.settings import OutboxSettings
    from sqlalchemy import insert
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    engine = create_async_engine(database, pool_pre_ping=True, pool_size=5, max_overflow=10)
    await create_tables(engine)
    payload = {"text": "x" * (EVENT_BYTES - len(json.dumps({"text": ""})))}
    async with engine.begin() as connection:
        await connection.execute(
            insert(OutboxEvent),
            [
                {
                    "subject": _SUBJECT,
                    "payload": payload,
                    "aggregate_id": headers["ce-partitionkey"],
                    "headers": headers,
                }
                for headers in map(headers_of, range(count))
            ],
        )
    settings = OutboxSettings(database_url=database, nats_url=broker)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with _stream(broker) as client:
        relay = PollingRelay(sessions, await NatsPublisher.from_nats_client(client), settings)
        began = time.perf_counter()
        running = asyncio.create_task(relay.start())
        await _stored(client, count)
        took = time.perf_counter() - began
        await relay.stop()
        await running
    await engine.dispose()
    return count / took


async def _faststream_outbox(database: str, broker: str, count: int, **options: Any) -> float:
    from faststream.nats import JStream, NatsBroker
    from faststream_outbox import OutboxBroker, make_outbox_table
    from sqlalchemy import MetaData, insert
    from sqlalchemy.ext.asyncio import create_async_engine

    metadata = MetaData()
    table = make_outbox_table(metadata)
    engine = create_async_engine(database, pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(
            insert(table),
            [
                {"queue": "orders", "payload": b"x" * EVENT_BYTES, "headers": headers_of(number)}
                for number in range(count)
            ],
        )
    outbox = OutboxBroker(engine, outbox_table=table, logger=None)
    out = NatsBroker(broker, logger=None)

    async def relay(body: bytes) -> bytes:
        return body

    subscriber = outbox.subscriber("orders", propagate_inbound_headers=True, **options)
    out.publisher(_SUBJECT, stream=JStream("ORDERS", declare=False))(subscriber(relay))
    async with _stream(broker) as client:
        await out.start()
        began = time.perf_counter()
        await outbox.start()
        await _stored(client, count)
        took = time.perf_counter() - began
        await outbox.stop()
        await out.stop()
    await engine.dispose()
    return count / took


async def _tuned_faststream_outbox(database: str, broker: str, count: int) -> float:
    return await _faststream_outbox(database, broker, count, **_TUNED)


@asynccontextmanager
async def _stream(url: str) -> AsyncIterator[Any]:
    """Make the stream and return a connection."""
    client = await nats.connect(url)
    try:
        await client.jetstream().add_stream(name="ORDERS", subjects=["orders.>"])
        yield client
    finally:
        await client.close()


async def _stored(client: Any, count: int) -> None:
    """Return when the stream has so many messages."""
    async with asyncio.timeout(_PATIENCE):
        while (await client.jetstream().stream_info("ORDERS")).state.messages < count:  # noqa: ASYNC110  # in the server
            await asyncio.sleep(_LOOK_EVERY)


PEERS: Mapping[str, Peer] = {
    "nats_outbox": _nats_outbox,
    "faststream_outbox": _faststream_outbox,
    "faststream_outbox_tuned": _tuned_faststream_outbox,
}
