"""A service as a process: its parts started in order, stopped in the opposite order, by signal."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any

from carrick.cancellation import cancelled

__all__ = ["App"]

_logger = logging.getLogger("carrick.app")


class App:
    """The parts of one process, each an async context manager: what others lean on comes first.

    With database, broker, relay, subscriber, server in this order a stop refuses new calls and finishes running ones,
    then stops consuming, then publishes what is left in the outbox, then disconnects. A part that is None is left out.
    """

    def __init__(self, name: str, *parts: AbstractAsyncContextManager[object] | None) -> None:
        self.name = name
        self._parts = tuple([part for part in parts if part is not None])

    @property
    def parts(self) -> tuple[AbstractAsyncContextManager[object], ...]:
        """Its parts, in their order."""
        return self._parts

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until SIGTERM or SIGINT, or until ``stop`` is set. A second signal cancels the stopping.

        Raises what a part raises while it starts; the parts before it are stopped then.
        """
        stop = stop or asyncio.Event()
        running = asyncio.create_task(self._run(stop))
        with _signals(stop, running):
            try:
                await running
            except asyncio.CancelledError as error:
                if not stop.is_set() or cancelled(error):
                    raise
                _logger.warning("%s was stopped before it had finished", self.name)

    async def _run(self, stop: asyncio.Event) -> None:
        async with AsyncExitStack() as parts:
            await _until(stop, self._start(parts))
            if not stop.is_set():
                _logger.info("ready")
                await stop.wait()
            _logger.info("stopping")
        _logger.info("stopped")

    async def _start(self, parts: AsyncExitStack) -> None:
        for part in self._parts:
            await parts.enter_async_context(part)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``, or as much of it as was done when ``stop`` was set."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


@contextmanager
def _signals(stop: asyncio.Event, running: asyncio.Task[None]) -> Iterator[None]:
    """Set ``stop`` at the first SIGTERM or SIGINT, cancel ``running`` at the second."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        if stop.is_set():
            running.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
