"""A broker that stands still for longer than publishes may take and leases last, and then stores what it was sent.

``make torture-outbox`` lets it stand still for a minute, ``make test`` for some seconds.
"""

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Relay
from carrick.testing import NatsServer, settle
from tests.acceptance.relays import (
    FORGETS_IDS_AFTER,
    OPTIONS,
    AnyDatabase,
    all_published,
    audit,
    counts,
    database_at,
    make_stream,
    shares,
    stands_still,
    write_each,
)
from tests.acceptance.wire import wire_to
from tests.unit.testing.programs import Program, program, until

ME = "tests.acceptance.relays"
STANDS_STILL = float(os.environ.get("CARRICK_FREEZE_SECONDS", "3"))  # the relays wait 0.6 s, and their leases last 1 s
STOPS = ("without an acknowledgement", "1", "SIGSTOP")
EACH = 300


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_long_freeze_loses_and_doubles_nothing(
    kind: str, stream: NatsServer, processes: ExitStack, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two relays are in the middle of publishing, and writers write before, meanwhile and afterwards."""
    where = str(tmp_path / "outbox.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")

    def writer() -> Program:
        return processes.enter_context(program("-m", ME, "write", where, str(EACH), "20"))

    async with database_at(where) as database:
        for _ in range(2):
            processes.enter_context(program("-m", ME, "relay", where, stream.url))
        writers = [writer()]
        await until(lambda: _published(database, EACH // 4))
        stream.freeze()
        writers.append(writer())
        await asyncio.sleep(STANDS_STILL)
        await _ended(writers)
        written, published = await counts(database)
        assert published < written - EACH // 2
        writers.append(writer())
        stream.thaw()
        await _ended(writers)
        await until(partial(all_published, database))
        async with NatsBroker(stream.url, name="audit") as broker:
            assert await audit(database, broker) >= 3 * EACH


@pytest.mark.parametrize("atomic", [False, True], ids=["one by one", "in batches"])
async def test_what_dead_relays_sent_is_stored_late_and_once(
    atomic: bool, nats_server: NatsServer, processes: ExitStack, tmp_path: Path
) -> None:
    """Both send, hear nothing and die; when the server goes on it stores that, and a new relay finds it there."""
    await make_stream(nats_server.url, atomic=atomic)
    async with database_at(str(tmp_path / "outbox.db")) as database:
        relays = [_relay(processes, tmp_path, nats_server.url, *STOPS) for _ in range(2)]
        written = await _publish_some(database, relays=2)
        nats_server.freeze()
        written += await write_each(database)
        for relay in relays:
            await _killed_after_sending(relay)
        await asyncio.sleep(STANDS_STILL)
        nats_server.thaw()
        async with NatsBroker(nats_server.url, name="last") as broker:
            await until(lambda: _more_stored(broker, written // 2))
            assert await counts(database) == (written, written // 2)
            async with Relay(database, broker, options=OPTIONS) as last:
                await settle(last, timeout=20)
            assert await audit(database, broker) == written


async def test_a_late_sender_and_its_successor_store_everything_once(
    stream: NatsServer, processes: ExitStack, tmp_path: Path
) -> None:
    """One of two relays sends, hears nothing and dies; the other takes over while the server still stands still."""
    async with database_at(str(tmp_path / "outbox.db")) as database:
        late = _relay(processes, tmp_path, stream.url, *STOPS)
        _relay(processes, tmp_path, stream.url)
        written = await _publish_some(database, relays=2)
        stream.freeze()
        written += await write_each(database)
        await _killed_after_sending(late)
        await until(lambda: _shared(database, 1))
        await asyncio.sleep(STANDS_STILL)
        stream.thaw()
        await until(partial(all_published, database))
        async with NatsBroker(stream.url, name="audit") as broker:
            assert await audit(database, broker) == written


@pytest.mark.parametrize("atomic", [False, True], ids=["one by one", "in batches"])
async def test_what_arrives_after_a_successor_has_published_it_is_refused(
    atomic: bool, nats_server: NatsServer, processes: ExitStack, tmp_path: Path
) -> None:
    """The network holds back what a relay sent until it is dead, and all of it was published by another one."""
    await make_stream(nats_server.url, atomic=atomic)
    async with (
        database_at(str(tmp_path / "outbox.db")) as database,
        NatsBroker(nats_server.url, name="next") as broker,
        wire_to(nats_server.port) as wire,
    ):
        late = _relay(processes, tmp_path, wire.url, *STOPS)
        written = await _publish_some(database, relays=1)
        wire.hold()
        written += await write_each(database)
        await _killed_after_sending(late)
        async with Relay(database, broker, options=OPTIONS) as relay:
            await settle(relay, timeout=20)
            await asyncio.sleep(2 * FORGETS_IDS_AFTER)
            await wire.deliver()
            written += await write_each(database)
            await settle(relay, timeout=20)
        assert await audit(database, broker) == written


def _relay(processes: ExitStack, folder: Path, url: str, *moment: str) -> Program:
    return processes.enter_context(program("-m", ME, "relay", str(folder / "outbox.db"), url, *moment))


async def _publish_some(database: AnyDatabase, *, relays: int) -> int:
    """Let the relays share the partitions, and publish to every subject; return how many events."""
    await until(lambda: _shared(database, relays))
    written = await write_each(database)
    await until(partial(all_published, database))
    return written


async def _killed_after_sending(relay: Program) -> None:
    await stands_still(relay)
    relay.kill()


async def _shared(database: AnyDatabase, relays: int) -> bool:
    return await shares(database) == [16 // relays] * relays


async def _more_stored(broker: NatsBroker, count: int) -> bool:
    holding = await broker.holding("ORDERS")
    return holding is not None and holding.messages > count


async def _published(database: AnyDatabase, count: int) -> bool:
    return (await counts(database))[1] >= count


async def _ended(writers: list[Program]) -> None:
    async with asyncio.timeout(60):
        assert [await asyncio.to_thread(writer.wait) for writer in writers] == [0] * len(writers)
