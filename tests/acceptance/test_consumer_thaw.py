"""A consumer that wakes up with things in hand that are another's by now: it overtakes nothing and buries nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from carrick.event import EventSpec
from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer
from tests.acceptance.consumers import (
    APPLIED,
    HANDLED,
    ME,
    NAME,
    Published,
    audit,
    consumer_database,
    ended_well,
    make_tables,
    ready,
    settled,
)
from tests.acceptance.relays import AnyDatabase, stands_still
from tests.unit.testing.programs import program, until

_ALL_FINE = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_IN_HAND = 60


@pytest.fixture
async def place(
    nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[tuple[tuple[str, str], AnyDatabase, NatsBroker]]:
    """Return where consumers find database and broker, and both of them."""
    where = str(tmp_path / "shop.db")
    async with AsyncExitStack() as parts:
        database: AnyDatabase = await parts.enter_async_context(consumer_database(where))
        broker = await parts.enter_async_context(NatsBroker(nats_server.url, name="test"))
        await make_tables(database)
        yield (where, nats_server.url), database, broker


@pytest.mark.parametrize("spec", [HANDLED, APPLIED], ids=["handled", "applied"])
async def test_nothing_overtakes_what_its_new_owner_has_parked(
    place: tuple[tuple[str, str], AnyDatabase, NatsBroker], processes: ExitStack, tmp_path: Path, spec: EventSpec[Any]
) -> None:
    """A key's events are in hand, the first of them in its handler; another process has parked them all meanwhile.

    When the first goes on, its handler fails like the other's; nothing of the key may be handled before it.
    """
    where, database, broker = place
    outage = tmp_path / "outage"
    outage.touch()
    published = Published()
    await published.publish(broker, _IN_HAND, keys=1, specs=(spec,), weights=_ALL_FINE)
    env = {"CARRICK_OUTAGE": str(outage)}
    stopped = processes.enter_context(program("-m", ME, *where, "before the transaction", "1", "SIGSTOP", env=env))
    await stands_still(stopped)
    other = processes.enter_context(program("-m", ME, *where, env=env))

    async def parked() -> int:
        async with database.read() as tx:
            return int((await tx.execute("SELECT count(*) FROM carrick_parked")).scalar_one())

    async def all_parked() -> bool:
        return await parked() == _IN_HAND

    await until(all_parked)
    stopped.send_signal(signal.SIGCONT)
    await asyncio.sleep(1.0)
    assert await parked() == _IN_HAND
    async with database.read() as tx:
        assert (await tx.execute("SELECT count(*) FROM effects")).scalar_one() == 0
    outage.unlink()
    await settled(database, broker)
    await ended_well(stopped, other)
    print(await audit(database, broker, published))


@pytest.mark.parametrize("moment", ["before the transaction", "before a dead letter"])
async def test_what_another_has_handled_is_no_dead_letter(
    place: tuple[tuple[str, str], AnyDatabase, NatsBroker], processes: ExitStack, tmp_path: Path, moment: str
) -> None:
    """The first process gives up what it has in hand; the second, for which it went well, has handled all of it."""
    where, database, broker = place
    published = Published()
    env = {"CARRICK_FAILS": "1"}
    stopped = processes.enter_context(program("-m", ME, *where, moment, "1", "SIGSTOP", env=env))
    await ready(stopped)
    await published.publish(broker, _IN_HAND, keys=3, weights=_ALL_FINE)
    await stands_still(stopped)
    other = processes.enter_context(program("-m", ME, *where))
    await settled(database, broker)
    stopped.send_signal(signal.SIGCONT)
    await asyncio.sleep(1.0)
    stopped.terminate()
    await asyncio.to_thread(stopped.wait)
    await ended_well(other)
    if moment == "before a dead letter":  # it had looked whether somebody had handled it, and nobody had
        letters = await broker.holding("DEADLETTERS")
        assert letters is not None
        assert letters.messages <= 1
        for record in await broker.read("DEADLETTERS", f"deadletter.{NAME}.>", 0, 10):
            await broker.remove("DEADLETTERS", record.sequence)
    print(await audit(database, broker, published))
