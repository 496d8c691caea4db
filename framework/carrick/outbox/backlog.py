"""What waits in an outbox, looked at now and then."""

from types import TracebackType
from typing import Self

from carrick.loop import Loop
from carrick.outbox import table
from carrick.store.transaction import Database

__all__ = ["Backlog"]

_MOST = 1_000_000


class Backlog:
    """How many events wait to be published, and for how long the oldest has. Starts and stops as a context manager.

    It looks every ``interval`` seconds, also where the relay is another process; while the database is away it stays at
    what it saw last. Events that wait for their time, or for a refused one of their key, are counted too when they are
    due; those that were put aside are not. Give it to ``shed_on_backlog``.
    """

    def __init__(self, database: Database, *, interval: float = 1.0) -> None:
        self._database = database
        self._interval = interval
        self._loop = Loop("outbox backlog", self._step)
        self.depth = 0
        """How many wait, a million at most."""
        self.oldest = 0.0
        """Seconds since the oldest of them was written; 0 when none waits."""

    async def look(self) -> None:
        """Look now."""
        async with self._database.read() as tx:
            self.depth, self.oldest = await table.backlog(tx, most=_MOST)

    async def __aenter__(self) -> Self:
        await self._loop.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._loop.stop()

    async def _step(self) -> float:
        await self.look()
        return self._interval
