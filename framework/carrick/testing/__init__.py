"""What users test their services with. The framework itself never imports this package.

``pytest_plugins = ["carrick.testing.fixtures"]`` in a conftest brings the fixtures.
"""

from carrick.messaging.memory import MemoryBroker
from carrick.testing.clock import FakeClock
from carrick.testing.fake import FakeBidiStream, FakeClientStream, FakeServerStream, FakeUnary, fake_channel
from carrick.testing.nats import NatsServer
from carrick.testing.settle import Settling, settle

__all__ = [
    "FakeBidiStream",
    "FakeClientStream",
    "FakeClock",
    "FakeServerStream",
    "FakeUnary",
    "MemoryBroker",
    "NatsServer",
    "Settling",
    "fake_channel",
    "settle",
]
