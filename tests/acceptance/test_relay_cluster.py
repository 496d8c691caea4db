"""The outbox on three replicas."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.errors import Error as NatsError

from carrick.errors import MessagingError
from carrick.messaging.nats import NatsBroker
from carrick.outbox import Relay
from carrick.testing import NatsCluster, NatsServer, settle
from tests.acceptance.relays import OPTIONS, audit, database_at, write
from tests.unit.testing.programs import until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three servers."""
    with NatsCluster(tmp_path / "cluster") as cluster:
        yield cluster


async def _leader(cluster: NatsCluster) -> NatsServer:
    """Return the server that leads the stream, when there is one."""
    found: list[str] = []

    async def asked() -> bool:
        client = await nats.connect(next(server.url for server in cluster.servers if server.running), connect_timeout=2)
        try:
            info = await client.jetstream(timeout=1).stream_info("ORDERS")
            if info.cluster and info.cluster.leader:
                found.append(info.cluster.leader)
        except (NatsError, TimeoutError):
            pass
        finally:
            await client.close()
        return bool(found)

    await until(asked, timeout=30)
    return cluster.named(found[-1])


async def test_a_killed_leader_loses_and_doubles_nothing(tmp_path: Path, cluster: NatsCluster) -> None:
    """The leader dies twice while events are written and published, and comes back."""
    async with (
        database_at(str(tmp_path / "outbox.db")) as database,
        NatsBroker(cluster.urls[0], name="relay", publish_timeout=2.0, replicas=3) as broker,
        Relay(database, broker, options=OPTIONS) as relay,
    ):
        await write(database, 100)
        await settle(relay, timeout=60)
        for _ in range(2):
            leader = await _leader(cluster)
            writing = asyncio.create_task(write(database, 300))
            leader.kill()
            await writing
            await settle(relay, timeout=60)
            await write(database, 50)
            leader.start()
            await settle(relay, timeout=60)
        assert await audit(database, broker) == 800


async def test_a_late_batch_is_refused_by_three_replicas_too(tmp_path: Path, cluster: NatsCluster) -> None:
    """A relay that read its rows before another took over publishes nothing, and marks nothing."""
    async with (
        database_at(str(tmp_path / "outbox.db")) as database,
        NatsBroker(cluster.urls[0], name="relay", publish_timeout=5.0, replicas=3) as broker,
    ):
        await write(database, 40)
        late, quick = (Relay(database, broker, options=OPTIONS) for _ in range(2))
        late._begin()
        await until(lambda: _shared(late), timeout=30)
        await write(database, 40)
        rows = await late._next_rows()
        assert rows
        async with database.transaction() as tx:
            await tx.execute("UPDATE carrick_outbox_lease SET until = 0")
            await tx.execute("UPDATE carrick_outbox_relay SET until = 0")
        published = late.processed
        async with quick:
            await settle(quick, timeout=60)
            with suppress(MessagingError):  # it is refused, or finds that it has to read again
                await late._publishing.publish("ORDERS", rows)
            assert late.processed == published
            assert await audit(database, broker) == 80


async def _shared(relay: Relay) -> bool:
    """Let a relay publish what there is; the first try of a new stream may time out."""
    await relay._share()
    try:
        while await relay._publish_next():
            pass
    except Exception:  # noqa: BLE001  # the stream has no leader yet
        relay._resting.clear()
        return False
    return True
