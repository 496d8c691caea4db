"""Work in the background of a process: one step after the other, until stopped."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from carrick.cancellation import cancelled
from carrick.context import detached
from carrick.errors import CarrickError

__all__ = ["Loop"]

_FIRST_BACKOFF = 0.1
_MAX_BACKOFF = 5.0
_MAX_DOUBLINGS = 6
_logger = logging.getLogger("carrick.loop")


class Loop:
    """Runs ``step`` in a task of its own. Starts and stops as a context manager.

    A step returns the seconds to rest before the next one; :meth:`wake` ends the rest. A step that raises is logged
    and tried again after 0.1 to 5 seconds: a loop never ends by itself. Stopping waits ``grace`` seconds for the step
    under way, then cancels it; with a grace of 0 that is what is meant to happen.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[float]], *, grace: float = 10.0) -> None:
        self._name = name
        self._step = step
        self._grace = grace
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.stopping = False
        """True once a stop was asked for: a long step should then come to its end."""

    def wake(self) -> None:
        """Start the next step now. From any thread."""
        task = self._task
        if task is None or task.get_loop() is asyncio._get_running_loop():
            self._wake.set()
            return
        with suppress(RuntimeError):  # its event loop is closed
            task.get_loop().call_soon_threadsafe(self._wake.set)

    async def start(self) -> None:
        """Begin, outside of any call that is being handled."""
        self.stopping = False
        with detached():
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End after the step under way. Calling it again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        self.stopping = True
        self._wake.set()
        _, late = await asyncio.wait((task,), timeout=self._grace)
        if late:
            if self._grace:
                _logger.warning("%s did not end within %g s and is cancelled", self._name, self._grace)
            task.cancel()
            await asyncio.wait((task,))

    async def rest(self, seconds: float) -> None:
        """Wait inside a step; a wake or a stop ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        failures = 0
        while not self.stopping:
            self._wake.clear()
            try:
                rest = await self._step()
                failures = 0
            except (Exception, asyncio.CancelledError) as error:  # a loop outlives its step's errors
                if cancelled(error):
                    raise
                failures = min(failures + 1, _MAX_DOUBLINGS)  # 2**1024 would end the loop
                rest = min(_MAX_BACKOFF, _FIRST_BACKOFF * 2**failures) * (0.5 + random.random() / 2)
                self._complain(error, rest)
            if rest > 0 and not self.stopping:
                await self.rest(rest)
            await asyncio.sleep(0)  # a step and a rest that need not wait would hold up the whole event loop

    def _complain(self, error: BaseException, rest: float) -> None:
        """Log what may pass in a line, and what may be a bug with its traceback."""
        if isinstance(error, CarrickError):
            _logger.warning("%s goes on in %.1f s after: %s", self._name, rest, error)
        else:
            _logger.error("%s failed and goes on in %.1f s", self._name, rest, exc_info=error)
