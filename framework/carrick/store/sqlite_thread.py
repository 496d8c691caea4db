"""The thread on which works are run, with the connection that is its own."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeAlias

from carrick.clock import Clock
from carrick.store.sqlite_group import Control, Ended, Work, not_run, run_group

__all__ = ["WriterThread"]

_Deliver: TypeAlias = Callable[[Ended], None]


class WriterThread:
    """Runs one group at a time. Starts with the first, connects when it must, and connects anew after an outage.

    The thread does not keep the process from ending: what is not committed then is undone, and nobody was told of it.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], time: float, clock: Clock) -> None:
        self._connect = connect
        self._time = time
        self._clock = clock
        self._orders: SimpleQueue[tuple[Sequence[Work[Any]] | None, _Deliver]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._control: Control | None = None
        self.current: Work[Any] | None = None
        """The work that is being run."""

    def run(self, works: Sequence[Work[Any]], over: Callable[[Ended], None]) -> None:
        """Run a group; ``over`` is called on the event loop's thread when it is committed or undone."""
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="carrick-sqlite-writer", daemon=True)
            thread.start()
            self._thread = thread
        self._order(works, over)

    async def stop(self) -> None:
        """Close the connection and end the thread, after the group under way."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            over = asyncio.Event()
            self._order(None, lambda _: over.set())
            await over.wait()
            thread.join()  # it has nothing left to do

    def _order(self, works: Sequence[Work[Any]] | None, over: Callable[[Ended], None]) -> None:
        loop = asyncio.get_running_loop()

        def deliver(ended: Ended) -> None:
            with suppress(RuntimeError):  # the loop has gone, and with it all who asked
                loop.call_soon_threadsafe(over, ended)

        self._orders.put((works, deliver))

    def _serve(self) -> None:
        while True:
            works, deliver = self._orders.get()
            if works is None:
                self._disconnect()
                deliver(Ended(()))
                return
            deliver(self._group(works))

    def _group(self, works: Sequence[Work[Any]]) -> Ended:
        try:
            if self._control is None:
                self._control = Control(self._connect())
        except Exception as error:  # noqa: BLE001  # whatever keeps it from connecting, the callers hear of it
            return not_run(works, error)
        ended = run_group(self._control, works, self._time, self._clock.monotonic, self._began)
        self.current = None
        if ended.broken:
            self._disconnect()
        return ended

    def _began(self, work: Work[Any]) -> None:
        self.current = work

    def _disconnect(self) -> None:
        """Close the connection, and with it any transaction left open."""
        control, self._control = self._control, None
        if control is not None:
            with suppress(sqlite3.Error):
                control.connection.close()
