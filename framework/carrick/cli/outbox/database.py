"""The database that a command looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carrick.cli.databases import existing_database
from carrick.outbox.status import require_outbox
from carrick.store.transaction import Database

__all__ = ["outbox_at"]


@asynccontextmanager
async def outbox_at(url: str) -> AsyncIterator[Database]:
    """Open a database whose schema is somebody else's, and see to it that it has an outbox."""
    async with existing_database(url) as database:
        async with database.read() as tx:
            await require_outbox(tx)
        yield database
