"""What is said about a stream that may lose what it acknowledged."""

import logging
from pathlib import Path

import pytest
from nats.js.api import StorageType, StreamConfig

from carrick.errors import ConfigurationError
from carrick.messaging.nats import NatsBroker
from carrick.messaging.nats.durability import complaints, syncs_always
from carrick.testing import NatsServer

GOOD = StreamConfig(name="ORDERS", storage=StorageType.FILE, num_replicas=3, duplicate_window=120.0)


def _said(config: StreamConfig, *, synced: bool | None = None) -> list[str]:
    return list(complaints(config, replicas=3, window=120.0, synced=synced))


def test_nothing_is_said_of_a_good_stream() -> None:
    """Three replicas need not sync at once."""
    assert _said(GOOD) == _said(GOOD, synced=True) == _said(GOOD, synced=False) == []


@pytest.mark.parametrize(
    ("config", "synced", "words"),
    [
        (GOOD.evolve(storage=StorageType.MEMORY), True, "kept in memory"),
        (GOOD.evolve(num_replicas=1), True, "1 replicas instead of 3"),
        (GOOD.evolve(duplicate_window=1.0), True, "remembers ids for 1 s instead of 120"),
    ],
)
def test_what_is_less_than_asked_for_is_said(config: StreamConfig, synced: bool, words: str) -> None:
    """With what to do about it."""
    (complaint,) = _said(config, synced=synced)
    assert words in complaint


def test_a_late_sync_matters_with_few_replicas() -> None:
    """Unless it is not known."""
    two = GOOD.evolve(num_replicas=2)
    assert [each for each in _said(two, synced=False) if "sync_interval: always" in each]
    assert not [each for each in _said(two, synced=None) if "sync_interval" in each]


@pytest.mark.parametrize("always", [True, False])
async def test_a_real_server_is_asked(tmp_path: Path, always: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Its monitoring says how it syncs; the broker says so once."""
    with NatsServer(tmp_path, sync_always=always) as server:
        assert await syncs_always(server.monitoring_url) is always
        async with NatsBroker(server.url, name="t", monitoring_url=server.monitoring_url) as broker:
            with caplog.at_level(logging.WARNING, "carrick.nats"):
                for _ in range(2):
                    await broker.ensure_stream("ORDERS", ["orders.>"])
        assert sum("acknowledges before it has synced" in each for each in caplog.messages) == (0 if always else 1)


async def test_a_silent_monitoring_is_no_answer() -> None:
    """Nothing is held up by it."""
    assert await syncs_always("http://127.0.0.1:1") is None
    assert await syncs_always(None) is None


@pytest.mark.parametrize("url", ["127.0.0.1:8222", "nats://127.0.0.1:4222", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """With an example."""
    with pytest.raises(ConfigurationError, match="http://127"):
        NatsBroker("nats://127.0.0.1:4222", name="t", monitoring_url=url)
