"""Removing what was kept long enough, a few rows at a time."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from carrick.loop import Loop

__all__ = ["Housekeeping"]

_MOST_BATCHES = 100


class Housekeeping:
    """Calls each purge every ``interval`` seconds until it removes nothing more. Runs as a context manager.

    A purge removes a small batch in a transaction of its own, so that writers wait only briefly, and returns how many
    rows went.
    """

    def __init__(self, *purges: Callable[[], Awaitable[int]], interval: float = 60.0) -> None:
        self._purges = purges
        self._interval = interval
        self._loop = Loop("housekeeping", self._step)

    async def start(self) -> None:
        """Begin with a round at once. Without purges there is nothing to begin."""
        if self._purges:
            await self._loop.start()

    async def stop(self) -> None:
        """End after the batch under way. Calling it again does nothing."""
        await self._loop.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _step(self) -> float:
        for purge in self._purges:
            for _ in range(_MOST_BATCHES):
                if self._loop.stopping or not await purge():
                    break
        return self._interval
