"""Processes of the outbox's tests, and the stream that they publish to."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from carrick.testing import NatsServer
from tests.acceptance.relays import make_stream


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Collect processes, which are killed at the end, frozen ones too."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def stream(nats_server: NatsServer) -> NatsServer:
    """Return a server with a stream that takes batches and hardly remembers ids."""
    await make_stream(nats_server.url, atomic=True)
    return nats_server
