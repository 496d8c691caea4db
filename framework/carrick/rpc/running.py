"""How many handlers run, and waiting until none does."""

import asyncio
import logging

__all__ = ["Running"]

_logger = logging.getLogger("carrick.server")


class Running:
    """The number of handlers that run. Who begins and ends one counts: a method for it would cost each call two frames.

    ``idle`` is to be set when ``count`` has come down to 0.
    """

    __slots__ = ("count", "idle")

    def __init__(self) -> None:
        self.count = 0
        self.idle = asyncio.Event()

    async def until_idle(self, patience: float) -> None:
        """Wait until no handler runs, at most so many seconds; then those that still do are logged."""
        try:
            async with asyncio.timeout(patience):
                while self.count:
                    self.idle.clear()
                    await self.idle.wait()
        except TimeoutError:
            _logger.warning("%d handlers still run", self.count)
