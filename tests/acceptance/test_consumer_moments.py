"""Consumers that die or stand still at each moment of their work: one effect for each event, in its key's order.

What fails for good is a dead letter, once, and nothing else is; nothing stays parked, and nothing stays in a process
that is stopped. ``make torture-consumers`` tries every moment with both databases and both kinds of handler.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from carrick.event import EventSpec
from carrick.messaging.nats import NatsBroker
from carrick.testing import NatsServer
from tests.acceptance.consumers import (
    APPLIED,
    HAND_OVER,
    HANDLED,
    ME,
    MOMENTS,
    Published,
    audit,
    consumer_database,
    ended_well,
    make_tables,
    ready,
    settled,
)
from tests.acceptance.relays import AnyDatabase, stands_still
from tests.unit.testing.programs import Program, program

_OFTEN = (60.0, 15.0, 10.0, 0.0, 5.0, 5.0, 5.0)
_STANDS_STILL = (
    "before the transaction",
    "before parking",
    "after a retry's effect",
    "before a dead letter",
    "after the commit",
    "after parking",
    "before a retry",
    "after a dead letter",
    "after taking a partition",
)


_ALL = "CARRICK_CONSUMER_EVENTS" in os.environ
_KINDS = [(database, spec) for database in ("sqlite", "postgresql") for spec in (HANDLED, APPLIED)]
_LASTING = _KINDS[2:]  # one that stands still in a transaction holds up all of SQLite


def _each(kinds: list[tuple[str, EventSpec[Any]]], given: Sequence[Any]) -> list[Any]:
    """Return each of what is given with a kind, in turn; or with all of them."""
    chosen = [
        (kind, each) for number, each in enumerate(given) for kind in (kinds if _ALL else [kinds[number % len(kinds)]])
    ]
    return [pytest.param(kind, each, id=_named(kind, each)) for kind, each in chosen]


def _named(kind: tuple[str, EventSpec[Any]], given: str | Sequence[str]) -> str:
    handled = "applied" if kind[1] is APPLIED else "handled"
    return f"{kind[0]} {handled} {given if isinstance(given, str) else given[0]}"


class Shop:
    """A database, a broker, and consumers of both."""

    def __init__(self, where: str, url: str, database: AnyDatabase, broker: NatsBroker, processes: ExitStack) -> None:
        self.database = database
        self.broker = broker
        self.published = Published()
        self._arguments = (where, url)
        self._processes = processes

    def consumer(self, *moment: str, env: dict[str, str] | None = None) -> Program:
        """Start a consumer that may have its moment."""
        return self._processes.enter_context(program("-m", ME, *self._arguments, *moment, env=env))

    async def publish(self, count: int, spec: EventSpec[Any]) -> None:
        """Publish events of which many fail, and some are there twice."""
        await self.published.publish(self.broker, count, keys=12, specs=(spec,), weights=_OFTEN, repeated=0.1)

    async def end(self, *consumers: Program) -> None:
        """Wait until all is done, stop the consumers, and look at what came of it."""
        await settled(self.database, self.broker)
        await ended_well(*consumers)
        print(await audit(self.database, self.broker, self.published))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> tuple[str, EventSpec[Any]]:
    """Return a database and an event, whose kind of handler goes with it."""
    kind: tuple[str, EventSpec[Any]] = request.param
    return kind


@pytest.fixture
async def shop(
    kind: tuple[str, EventSpec[Any]],
    nats_server: NatsServer,
    processes: ExitStack,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Shop]:
    """Return a shop without consumers."""
    where = str(tmp_path / "shop.db") if kind[0] == "sqlite" else str(request.getfixturevalue("postgres_url"))
    async with AsyncExitStack() as parts:
        database: AnyDatabase = await parts.enter_async_context(consumer_database(where))
        broker = await parts.enter_async_context(NatsBroker(nats_server.url, name="test"))
        await make_tables(database)
        yield Shop(where, nats_server.url, database, broker, processes)


async def _died(process: Program) -> None:
    async with asyncio.timeout(30):
        await asyncio.to_thread(process.wait)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "moments"), _each(_KINDS, [MOMENTS[first::4] for first in range(4)]), indirect=["kind"]
)
async def test_consumers_that_die_leave_all_to_the_next(
    shop: Shop, kind: tuple[str, EventSpec[Any]], moments: Sequence[str]
) -> None:
    """One after the other gets SIGKILL at the second time that its moment comes."""
    for moment in moments:
        await shop.publish(60, kind[1])
        await _died(shop.consumer(moment, "2", "SIGKILL"))
    await shop.end(shop.consumer())


@pytest.mark.parametrize(("kind", "moment"), _each(_KINDS, HAND_OVER), indirect=["kind"])
async def test_a_consumer_that_dies_while_it_gives_partitions_to_another(
    shop: Shop, kind: tuple[str, EventSpec[Any]], moment: str
) -> None:
    """The other has those that were given, and the rest when their leases have ended."""
    first = shop.consumer(moment, "3", "SIGKILL")
    await ready(first)
    await shop.publish(60, kind[1])
    second = shop.consumer()
    await shop.publish(60, kind[1])
    await _died(first)
    await shop.end(second)


@pytest.mark.skipif(not _ALL, reason="part of make torture-consumers")
@pytest.mark.parametrize(("kind", "moment"), _each(_LASTING, _STANDS_STILL), indirect=["kind"])
async def test_a_consumer_that_stands_still_past_its_leases_changes_nothing(
    shop: Shop, kind: tuple[str, EventSpec[Any]], moment: str
) -> None:
    """SIGSTOP until another has taken over and handled everything; it wakes up with things in hand, and more comes."""
    await shop.publish(120, kind[1])
    stopped = shop.consumer(moment, "2", "SIGSTOP")
    await stands_still(stopped)
    other = shop.consumer()
    await settled(shop.database, shop.broker)
    stopped.send_signal(signal.SIGCONT)
    await shop.publish(120, kind[1])
    await shop.end(stopped, other)
