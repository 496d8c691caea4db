"""Telling other processes that something was committed, by PostgreSQL's LISTEN and NOTIFY.

A NOTIFY inside of a transaction makes all commits wait for each other. This one is sent after the commit, on a
connection of its own, once for all commits since the one before.
"""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import asyncpg

from carrick.context import detached
from carrick.store.postgres import host_and_database

__all__ = ["PostgresSignal"]

_CONNECTING = 10.0
_ANSWER = 10.0
_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 5.0
_logger = logging.getLogger("carrick.store")


class PostgresSignal:
    """Calls what listens, here and in other processes, soon after :meth:`send`. Starts and stops as a context manager.

    It is a hint that saves waiting, and no more: while the connection is lost nothing is heard from others, so who
    listens also looks now and then by itself. When the connection is back, everybody is called. Used from one event
    loop.
    """

    def __init__(self, url: str, *, channel: str = "carrick_outbox") -> None:
        self.name = host_and_database(url)
        self._url = url
        self._channel = channel
        self._actions: list[Callable[[], None]] = []
        self._stirred = asyncio.Event()
        self._unsent = False
        self._task: asyncio.Task[None] | None = None

    def listen(self, action: Callable[[], None]) -> None:
        """Have ``action`` called when there is something new. It must be quick and must not raise."""
        self._actions.append(action)

    def send(self) -> None:
        """Tell everybody, here at once. Give this to an ``Outbox`` as its ``wake``."""
        self._call()
        self._unsent = True
        self._stirred.set()

    async def start(self) -> None:
        """Connect in the background, now and whenever the connection is lost."""
        with detached():
            self._task = asyncio.create_task(self._run(), name="postgres signal")

    async def stop(self) -> None:
        """Let go of the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _call(self) -> None:
        for action in self._actions:
            action()

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=_CONNECTING, command_timeout=_ANSWER)
                try:
                    await connection.add_listener(self._channel, self._heard)
                    backoff = _FIRST_BACKOFF
                    await self._connected(connection)
                finally:
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _logger.warning("no news from %s: %s; connecting again in %g s", self.name, _named(error), backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)

    async def _connected(self, connection: Any) -> None:
        """Send what is to be sent until the connection is lost."""
        connection.add_termination_listener(self._lost)
        self._call()  # who knows what was sent meanwhile
        while not connection.is_closed():
            self._stirred.clear()
            if self._unsent:
                await self._send(connection)
                continue
            await self._stirred.wait()
        raise ConnectionError("the connection was lost")

    async def _send(self, connection: Any) -> None:
        self._unsent = False
        try:
            await connection.execute("SELECT pg_notify($1, '')", self._channel)
        except BaseException:
            self._unsent = True
            raise

    def _heard(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self._call()

    def _lost(self, connection: Any) -> None:
        self._stirred.set()


def _named(error: BaseException) -> str:
    return str(error) or type(error).__name__
