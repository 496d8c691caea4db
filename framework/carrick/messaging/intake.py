"""Taking messages that come when they like: a bounded number at once, the next in a bounded queue."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from carrick.context import detached
from carrick.errors import ConfigurationError

__all__ = ["Intake", "IntakeOptions"]

T = TypeVar("T")
_logger = logging.getLogger("carrick.intake")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """How much is taken at once. What does not fit is turned away."""

    concurrency: int = 1
    """How many are handled at once; with 1 they are handled in the order in which they came."""
    max_waiting: int = 1000
    """How many may wait for their turn."""
    max_waiting_bytes: int = 16 * 1024 * 1024
    """How much payload those that wait may have together."""
    timeout: float = 30.0
    """Seconds for the handling of one; the handler is cancelled then."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency must be 1 or more, not {self.concurrency}")
        if self.max_waiting < 0 or self.max_waiting_bytes < 0:
            raise ConfigurationError("max_waiting and max_waiting_bytes must be 0 or more: 0 lets nothing wait")
        if not self.timeout > 0:
            raise ConfigurationError(f"timeout must be above 0 seconds, not {self.timeout}")


class Intake(Generic[T]):
    """Hands what is offered to ``handle``, each in a task of its own. Used from one event loop."""

    def __init__(self, handle: Callable[[T], Awaitable[None]], options: IntakeOptions, *, name: str) -> None:
        self._handle = handle
        self._options = options
        self._name = name
        self._waiting: deque[tuple[T, int]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are being handled."""
        return len(self._running)

    def offer(self, item: T, size: int) -> bool:
        """Take an item of ``size`` bytes, or say that it does not fit."""
        if self._closed:
            return False
        if len(self._running) < self._options.concurrency:
            self._begin(item)
            return True
        if len(self._waiting) >= self._options.max_waiting or self._bytes + size > self._options.max_waiting_bytes:
            return False
        self._waiting.append((item, size))
        self._bytes += size
        return True

    async def close(self, grace: float) -> int:
        """Take no more, and let what was taken end within ``grace`` seconds; then cancel it.

        Return how many were cancelled or never begun. A cancellation of this cancels them at once, and goes on when
        they have ended.
        """
        self._closed = True
        cut = 0
        try:
            async with asyncio.timeout(grace):
                while self._running:
                    await asyncio.wait(self._running)
        except TimeoutError:
            pass
        finally:
            cut = len(self._running) + len(self._waiting)
            self._waiting.clear()
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)
        return cut

    def _begin(self, item: T) -> None:
        with detached():
            task = asyncio.create_task(self._run(item), name=self._name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, item: T) -> None:
        await self._handle(item)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("%s failed", self._name, exc_info=error)
        if self._waiting:
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._begin(item)
