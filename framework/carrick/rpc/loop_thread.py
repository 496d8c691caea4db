"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from carrick.errors import Code, TransportError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads, any number of them at once. The thread starts with the first one.

    It is a daemon: it ends with the process. It does not survive a fork, as grpc does not.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in the caller's context variables, and wait for what it returns or raises.

        When the waiting is interrupted, as by Ctrl-C, the work is cancelled.
        """
        return self.result(self.submit(work))

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start ``work`` in the caller's context variables. Raises RuntimeError where waiting for it could not end."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._running())
        except RuntimeError:
            work.close()
            raise

    def result(self, future: Future[T]) -> T:
        """Wait for submitted work."""
        try:
            return future.result()
        except CancelledError as error:
            raise TransportError(Code.CANCELLED, "the call was cancelled") from error
        except BaseException:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._thread is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name="carrick-blocking-calls", daemon=True)
                thread.start()
                self._loop, self._thread, self._process = loop, thread, os.getpid()
        if self._process != os.getpid():
            raise RuntimeError(
                "a blocking client was used before this process was forked, and grpc does not survive that; make the "
                "first call, or the channel, in each worker process (gunicorn: in post_fork, and without a call before)"
            )
        if self._thread.ident == threading.get_ident():
            raise RuntimeError("a blocking client was called on its own event loop; use the asynchronous client there")
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for as long as the process lives, also when a caller's own requests raise what stops one."""
    while True:
        with suppress(KeyboardInterrupt, SystemExit):  # the task that raised it hands it to its caller
            loop.run_forever()
