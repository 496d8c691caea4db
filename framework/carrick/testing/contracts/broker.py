"""What every broker must do, as tests that an adapter's author runs: see :mod:`carrick.testing.contracts`."""

from carrick.testing.contracts.broker_consuming import ConsumingContract
from carrick.testing.contracts.broker_ordering import OrderingContract
from carrick.testing.contracts.broker_outages import OutageContract
from carrick.testing.contracts.broker_publishing import PublishingContract
from carrick.testing.contracts.broker_reading import ReadingContract
from carrick.testing.contracts.broker_site import BrokerSite

__all__ = [
    "BrokerContract",
    "BrokerSite",
    "ConsumingContract",
    "OrderingContract",
    "OutageContract",
    "PublishingContract",
    "ReadingContract",
]


class BrokerContract(PublishingContract, ReadingContract, ConsumingContract, OrderingContract, OutageContract):
    """Everything that carrick needs of a broker.

    Two fixtures are wanted: ``broker_site``, which many tests may share, and ``fragile_broker_site``, which the test
    takes away and brings back.
    """
