"""What every broker must do: the suite that adapters' authors get, run against memory and real NATS, old and new."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest

from carrick.messaging import Broker, GuardedBroker
from carrick.messaging.nats import NatsBroker
from carrick.resource import Resource
from carrick.testing import MemoryBroker, NatsServer
from carrick.testing.contracts import BrokerContract, BrokerSite
from tests.older import NATS_SERVER


class _Memory:
    """A broker of one process: another connection to it is the same object."""

    stores_as_a_whole = True

    def __init__(self, wrapped: Callable[[Broker], Broker] = lambda broker: broker) -> None:
        self._memory = MemoryBroker()
        self.broker = wrapped(self._memory)

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Broker]:
        """Return the same."""
        yield self.broker

    async def go_away(self) -> None:
        """Answer no more."""
        self._memory.available = False

    async def come_back(self) -> None:
        """Answer again."""
        self._memory.available = True

    async def delete_stream(self, stream: str) -> None:
        """Delete a stream."""
        self._memory.delete_stream(stream)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a consumer."""
        self._memory.delete_consumer(stream, name)


@dataclass
class _Nats:
    """A real server."""

    broker: Broker
    url: str
    stores_as_a_whole: bool
    server: NatsServer | None = None

    def another(self) -> AbstractAsyncContextManager[Broker]:
        """Connect once more."""
        return NatsBroker(self.url, name="another")

    async def go_away(self) -> None:
        """Kill it."""
        assert self.server is not None
        self.server.kill()

    async def come_back(self) -> None:
        """Start it on what it has stored."""
        assert self.server is not None
        self.server.start()

    async def delete_stream(self, stream: str) -> None:
        """Delete a stream, without Carrick."""
        await self._ask(f"STREAM.DELETE.{stream}")

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Delete a consumer, without Carrick."""
        await self._ask(f"CONSUMER.DELETE.{stream}.{name}")

    async def _ask(self, subject: str) -> None:
        client = await nats.connect(self.url)
        try:
            await client.request(f"$JS.API.{subject}", timeout=5)
        finally:
            await client.close()


@pytest.fixture(scope="module")
def older_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of 2.11."""
    with NatsServer(tmp_path_factory.mktemp("older"), sync_always=False, binary=NATS_SERVER) as server:
        yield server.url


class TestMemory(BrokerContract):
    @pytest.fixture
    def broker_site(self) -> BrokerSite:
        """One of each test's own."""
        return _Memory()

    @pytest.fixture
    def fragile_broker_site(self) -> BrokerSite:
        """The same."""
        return _Memory()


class TestGuarded(BrokerContract):
    @pytest.fixture
    def broker_site(self) -> BrokerSite:
        """A broker behind a guard."""
        return _Memory(lambda broker: GuardedBroker(broker, Resource("broker")))

    @pytest.fixture
    def fragile_broker_site(self) -> BrokerSite:
        """The same."""
        return _Memory(lambda broker: GuardedBroker(broker, Resource("broker", breaker=None)))


class TestNats(BrokerContract):
    @pytest.fixture
    async def broker_site(self, nats_url: str) -> AsyncIterator[BrokerSite]:
        """The session's server."""
        async with NatsBroker(nats_url, name="contract") as broker:
            yield _Nats(broker, nats_url, stores_as_a_whole=True)

    @pytest.fixture
    async def fragile_broker_site(self, nats_server: NatsServer) -> AsyncIterator[BrokerSite]:
        """A server of the test's own."""
        async with NatsBroker(nats_server.url, name="contract", publish_timeout=0.5) as broker:
            yield _Nats(broker, nats_server.url, stores_as_a_whole=True, server=nats_server)


class TestNatsBeforeBatchesAndResets(BrokerContract):
    @pytest.fixture
    async def broker_site(self, older_url: str) -> AsyncIterator[BrokerSite]:
        """The module's server."""
        async with NatsBroker(older_url, name="contract") as broker:
            yield _Nats(broker, older_url, stores_as_a_whole=False)

    @pytest.fixture
    async def fragile_broker_site(self, tmp_path: Path) -> AsyncIterator[BrokerSite]:
        """A server of the test's own."""
        with NatsServer(tmp_path, binary=NATS_SERVER) as server:
            async with NatsBroker(server.url, name="contract", publish_timeout=0.5) as broker:
                yield _Nats(broker, server.url, stores_as_a_whole=False, server=server)


def test_no_part_of_the_contract_hides_a_test_of_another() -> None:
    """Each test has a name of its own, so that all are run where the parts are put together."""
    names = Counter(name for part in BrokerContract.__bases__ for name in vars(part) if name.startswith("test_"))
    assert len(names) > 60
    assert set(names.values()) == {1}
