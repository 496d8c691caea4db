"""What every database and every broker must do, as tests that an adapter's author runs.

Derive from :class:`StoreContract` and give it a place that is empty in each test::

    class TestMyDatabase(StoreContract):
        @pytest.fixture
        def store_site(self, tmp_path: Path) -> StoreSite:
            return MySite(tmp_path)

and for a broker from :class:`BrokerContract`, with one that tests may share, and one of each test's own to take away::

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        async def broker_site(self) -> AsyncIterator[BrokerSite]: ...

        @pytest.fixture
        async def fragile_broker_site(self) -> AsyncIterator[BrokerSite]: ...

Each part, :class:`TransactionContract` to :class:`OutageContract`, can be had by itself. pytest-asyncio runs them in
either of its modes.
"""

import pytest

from carrick.testing.contracts.site import StoreDatabase, StoreSite

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("transactions", "idempotency", "inbox")))
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("migrations", "outbox", "parking")))
pytest.register_assert_rewrite(*(f"{__name__}.broker_{part}" for part in ("publishing", "reading", "consuming")))
pytest.register_assert_rewrite(*(f"{__name__}.broker_{part}" for part in ("ordering", "outages", "site")))

from carrick.testing.contracts.broker import (  # noqa: E402  # after pytest knows of it
    BrokerContract,
    BrokerSite,
    ConsumingContract,
    OrderingContract,
    OutageContract,
    PublishingContract,
    ReadingContract,
)
from carrick.testing.contracts.idempotency import IdempotencyContract  # noqa: E402
from carrick.testing.contracts.inbox import InboxContract  # noqa: E402
from carrick.testing.contracts.migrations import MigrationContract  # noqa: E402
from carrick.testing.contracts.outbox import OutboxContract  # noqa: E402
from carrick.testing.contracts.parking import ParkingContract  # noqa: E402
from carrick.testing.contracts.transactions import TransactionContract  # noqa: E402

__all__ = [
    "BrokerContract",
    "BrokerSite",
    "ConsumingContract",
    "IdempotencyContract",
    "InboxContract",
    "MigrationContract",
    "OrderingContract",
    "OutageContract",
    "OutboxContract",
    "ParkingContract",
    "PublishingContract",
    "ReadingContract",
    "StoreContract",
    "StoreDatabase",
    "StoreSite",
    "TransactionContract",
]


class StoreContract(
    TransactionContract, MigrationContract, IdempotencyContract, InboxContract, ParkingContract, OutboxContract
):
    """Everything that carrick needs of a database."""
