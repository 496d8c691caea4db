"""Telling other processes of commits: heard at once, and again after the connection was lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from carrick.errors import ConfigurationError
from carrick.store.postgres_signal import PostgresSignal
from carrick.testing import PostgresServer
from tests.unit.testing.programs import until


class Ear:
    """Counts what it hears."""

    def __init__(self, signal: PostgresSignal) -> None:
        self.heard = 0
        signal.listen(self._hear)

    def _hear(self) -> None:
        self.heard += 1


@pytest.fixture
async def ears(postgres_url: str) -> AsyncIterator[tuple[PostgresSignal, Ear, Ear]]:
    """Two processes' signals on one database: the first one's, and what both hear."""
    async with PostgresSignal(postgres_url) as first, PostgresSignal(postgres_url) as second:
        here, there = Ear(first), Ear(second)
        await until(lambda: bool(here.heard and there.heard))  # each is called once it is connected
        yield first, here, there


async def test_what_is_sent_is_heard_here_and_there(ears: tuple[PostgresSignal, Ear, Ear]) -> None:
    """Here at once, there soon."""
    signal, here, there = ears
    before = here.heard, there.heard
    signal.send()
    assert here.heard == before[0] + 1
    await until(lambda: there.heard > before[1])


async def test_many_at_once_are_few_on_the_wire(ears: tuple[PostgresSignal, Ear, Ear]) -> None:
    """A thousand commits in one turn of the loop need one notice."""
    signal, _, there = ears
    before = there.heard
    for _ in range(1000):
        signal.send()
    await until(lambda: there.heard > before)
    await asyncio.sleep(0.1)
    assert there.heard - before <= 2


async def test_another_channel_is_not_heard(postgres_url: str) -> None:
    """Services that share a server can have channels of their own."""
    async with PostgresSignal(postgres_url, channel="a") as first, PostgresSignal(postgres_url, channel="b") as second:
        here, there = Ear(first), Ear(second)
        await until(lambda: bool(here.heard and there.heard))
        before = there.heard
        first.send()
        await asyncio.sleep(0.1)
        assert there.heard == before


async def test_a_lost_connection_is_made_again(postgres_server: PostgresServer) -> None:
    """The server is killed and comes back: everybody is called, since nobody knows what was missed, and hears again."""
    url = postgres_server.create_database()
    async with PostgresSignal(url) as first, PostgresSignal(url) as second:
        here, there = Ear(first), Ear(second)
        await until(lambda: bool(here.heard and there.heard))
        postgres_server.kill()
        before = here.heard, there.heard
        first.send()
        postgres_server.start()
        await until(lambda: here.heard > before[0] + 1 and there.heard > before[1])
        heard = there.heard
        first.send()
        await until(lambda: there.heard > heard)


async def test_a_connection_that_was_ended_is_made_again(postgres_server: PostgresServer) -> None:
    """The server lives on and ends the listening connection."""
    url = postgres_server.create_database()
    async with PostgresSignal(url) as signal:
        ear = Ear(signal)
        await until(lambda: ear.heard == 1)
        postgres_server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await until(lambda: ear.heard == 2)


async def test_without_a_server_it_starts_and_stops() -> None:
    """Nothing waits for it: it is a hint."""
    async with PostgresSignal("postgresql://nobody:secret@127.0.0.1:1/none") as signal:
        ear = Ear(signal)
        signal.send()
        assert ear.heard == 1


def test_the_url_is_checked() -> None:
    """Anything else is refused without showing it."""
    with pytest.raises(ConfigurationError, match="postgresql://"):
        PostgresSignal("mysql://user:secret@host/db")
