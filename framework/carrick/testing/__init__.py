"""What users test their services with. The framework itself never imports this package.

``pytest_plugins = ["carrick.testing.fixtures"]`` in a conftest brings the fixtures.
"""

from typing import TYPE_CHECKING

from carrick._on_demand import on_demand
from carrick.messaging.memory import MemoryBroker
from carrick.testing.clock import FakeClock
from carrick.testing.fake import FakeBidiStream, FakeClientStream, FakeServerStream, FakeUnary, fake_channel
from carrick.testing.nats import NatsCluster, NatsServer
from carrick.testing.settle import Settling, settle

if TYPE_CHECKING:
    from carrick.testing.postgres import PostgresServer
else:
    __getattr__ = on_demand(__name__, PostgresServer="carrick.testing.postgres")

__all__ = [
    "FakeBidiStream",
    "FakeClientStream",
    "FakeClock",
    "FakeServerStream",
    "FakeUnary",
    "MemoryBroker",
    "NatsCluster",
    "NatsServer",
    "PostgresServer",
    "Settling",
    "fake_channel",
    "settle",
]
