"""pytest fixtures: servers of NATS and PostgreSQL, a broker in memory, a SQLite database, a fake clock."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from carrick import outbox, store
from carrick.messaging.memory import MemoryBroker
from carrick.store.sqlite import SqliteDatabase
from carrick.testing.clock import FakeClock
from carrick.testing.nats import NatsServer
from carrick.testing.postgres import PostgresServer

__all__ = [
    "database",
    "fake_clock",
    "memory_broker",
    "nats_server",
    "nats_url",
    "postgres_server",
    "postgres_url",
]


@pytest.fixture(scope="session")
def _shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats"), sync_always=False) as server:
        yield server


@pytest.fixture
def nats_url(_shared_nats: NatsServer) -> str:
    """URL of a real nats-server that all tests of the session share: give streams and consumers names of your own."""
    return _shared_nats.url


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Return a real nats-server of this test's own, to stop, kill and start."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="session")
def _shared_postgres() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture
def postgres_url(_shared_postgres: PostgresServer) -> Iterator[str]:
    """URL of an empty database of this test's own, on a real PostgreSQL that all tests of the session share."""
    url = _shared_postgres.create_database()
    yield url
    _shared_postgres.drop_database(url)


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """Return a real PostgreSQL of this test's own, to stop, kill and start."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def memory_broker() -> MemoryBroker:
    """Return an empty broker in memory."""
    return MemoryBroker()


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """Return a new SQLite database with the framework's tables."""
    async with SqliteDatabase(tmp_path / "test.db", migrations=[store.MIGRATIONS, outbox.MIGRATIONS]) as db:
        yield db


@pytest.fixture
def fake_clock() -> FakeClock:
    """Return a clock that stands still until it is moved."""
    return FakeClock()
