"""A database with the framework's tables, for contracts about them."""

from collections.abc import AsyncIterator

import pytest_asyncio

from carrick import outbox, store
from carrick.testing.contracts.site import StoreDatabase, StoreSite

__all__ = ["FrameworkTables"]


class FrameworkTables:
    """Brings the fixture ``database``."""

    @pytest_asyncio.fixture
    async def database(self, store_site: StoreSite) -> AsyncIterator[StoreDatabase]:
        """A new database with the tables of store and outbox."""
        async with store_site.database(migrations=[store.MIGRATIONS, outbox.MIGRATIONS]) as opened:
            yield opened
