"""Turns at what only one can use at a time, in the order in which they were asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carrick.errors import Code, StoreError

__all__ = ["Turns"]


class Turns:
    """Who asked first comes first. Once closed, who waits and who asks is refused with ``UNAVAILABLE``.

    Used from one event loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def turn(self, timeout: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn, for ``timeout`` seconds at most (``RESOURCE_EXHAUSTED``), and have it for the block."""
        self.check()
        try:
            async with asyncio.timeout(timeout if self._lock.locked() else None):
                await self._lock.acquire()
        except TimeoutError as error:
            raise StoreError(Code.RESOURCE_EXHAUSTED, f"no turn within {timeout:g} s: too many transactions") from error
        try:
            self.check()
            yield
        finally:
            self._lock.release()

    def check(self) -> None:
        """Raise ``UNAVAILABLE`` once closed."""
        if self._closed:
            raise self.closed()

    def closed(self) -> StoreError:
        """Return what those who come too late are told."""
        return StoreError(Code.UNAVAILABLE, f"{self._name} is closed")

    async def close(self) -> None:
        """Refuse all who wait, and return when the turn under way has ended."""
        self._closed = True
        async with self._lock:
            pass

    def open(self) -> None:
        """Give turns again."""
        self._closed = False
