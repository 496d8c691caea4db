"""Relays that die or stand still at each moment of their work: nothing is lost, doubled or out of turn.

The stream forgets ids after a tenth of a second, as after an outage longer than its window for duplicates.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from carrick.messaging.nats import NatsBroker
from carrick.outbox import Relay
from carrick.testing import NatsServer, settle
from tests.acceptance.relays import (
    FORGETS_IDS_AFTER,
    MOMENTS,
    OPTIONS,
    AnyDatabase,
    audit,
    database_at,
    make_stream,
    stands_still,
    write,
)
from tests.older import NATS_SERVER
from tests.unit.testing.programs import Program, program

ME = "tests.acceptance.relays"


@pytest.fixture(params=[("sqlite", "one by one"), ("postgresql", "in batches")], ids=" ".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return which database, and how the server takes events: what is between the two does not depend on either."""
    kind: tuple[str, str] = request.param
    return kind


@pytest.fixture
def where(kind: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where the outbox is."""
    return str(tmp_path / "outbox.db") if kind[0] == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def url(kind: tuple[str, str], tmp_path: Path) -> AsyncIterator[str]:
    """Return a server with a stream that hardly remembers ids; one that knows no batches takes events one by one."""
    binary = None if kind[1] == "in batches" else NATS_SERVER
    with NatsServer(tmp_path / "nats", binary=binary) as server:
        await make_stream(server.url)
        yield server.url


async def _ended(process: Program) -> None:
    async with asyncio.timeout(30):
        await asyncio.to_thread(process.wait)


async def _drain_and_audit(where: str, url: str) -> int:
    async with AsyncExitStack() as parts:
        database: AnyDatabase = await parts.enter_async_context(database_at(where))
        broker = await parts.enter_async_context(NatsBroker(url, name="audit"))
        relay = await parts.enter_async_context(Relay(database, broker, options=OPTIONS))
        await settle(relay, timeout=20)
        return await audit(database, broker)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_relay_that_dies_leaves_all_to_the_next(where: str, url: str, moment: str) -> None:
    """SIGKILL at the second time that the moment comes."""
    async with database_at(where) as database:
        await write(database, 240)
    with program("-m", ME, "relay", where, url, moment, "2", "SIGKILL") as relay:
        await _ended(relay)
        assert relay.returncode == -signal.SIGKILL
    await asyncio.sleep(2 * FORGETS_IDS_AFTER)
    assert await _drain_and_audit(where, url) == 240


@pytest.mark.parametrize("moment", ["after reading", "before sending", "while sending", "after the acknowledgement"])
async def test_a_relay_that_stands_still_past_its_lease_changes_nothing(where: str, url: str, moment: str) -> None:
    """SIGSTOP, until another has taken over, published everything and more; then it wakes up."""
    async with database_at(where) as database:
        await write(database, 240)
        with program("-m", ME, "relay", where, url, moment, "2", "SIGSTOP") as stopped:
            await stands_still(stopped)
            await asyncio.sleep(2 * FORGETS_IDS_AFTER)
            async with NatsBroker(url, name="other") as broker:
                async with Relay(database, broker, options=OPTIONS) as relay:
                    await settle(relay, timeout=20)
                    await write(database, 60)
                    await settle(relay, timeout=20)
                stopped.send_signal(signal.SIGCONT)
                await write(database, 60)
                async with Relay(database, broker, options=OPTIONS) as relay:
                    await write(database, 60)
                    await settle(relay, timeout=20)
                assert stopped.poll() is None
                assert await audit(database, broker) == 420
