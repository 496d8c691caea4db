"""Coalescing: those who ask for the same thing at the same time share one call."""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from carrick.cancellation import cancelled, finish
from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, DeadlineError

__all__ = ["Coalescing"]


class Coalescing:
    """The calls under way, by what they ask for.

    A call is made with the context of who asked first, and goes on when that one is cancelled, until nobody waits for
    it. Who has less time than the call waits no longer than its own deadline; who has more, makes a call of its own
    when the shared one ran out of time. Each caller gets an error of its own. Used from one event loop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flights: dict[Hashable, _Flight] = {}

    async def reply(self, question: Hashable, ctx: Context, ask: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """Return what ``ask()``, or the call under way for the same question, returns; or raise what it raises."""
        while flight := self._flights.get(question):
            try:
                if await flight.land(ctx.remaining(self._clock.monotonic()), self._clock):
                    return flight.shared_reply()
            except DeadlineError:
                if not _later(ctx.deadline, flight.deadline):
                    raise
                self._forget(question, flight)
            except asyncio.CancelledError as error:
                if cancelled(error):
                    raise
                self._forget(question, flight)  # the last of those who waited for it was cancelled at this moment
            else:
                raise _late(ctx)
        return await self._begin(question, ctx, ask)

    async def _begin(self, question: Hashable, ctx: Context, ask: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        task = asyncio.create_task(ask())
        flight = self._flights[question] = _Flight(task, ctx.deadline)
        task.add_done_callback(lambda _: self._ended(question, flight))
        await flight.land(None, self._clock)
        return flight.reply()

    def _ended(self, question: Hashable, flight: "_Flight") -> None:
        self._forget(question, flight)
        flight.heard()

    def _forget(self, question: Hashable, flight: "_Flight") -> None:
        if self._flights.get(question) is flight:
            del self._flights[question]


class _Flight:
    """One call on behalf of all who ask for the same thing. It lasts as long as one of them waits."""

    def __init__(self, call: asyncio.Task[bytes], deadline: float | None) -> None:
        self._call = call
        self._waiting = 0
        self.deadline = deadline

    async def land(self, left: float | None, clock: Clock) -> bool:
        """Wait for the call's end; false when ``left`` seconds, the waiting call's own, were over before."""
        self._waiting += 1
        try:
            return await self._within(left, clock)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._call.done():
                self._call.cancel()
                await finish(_ended(self._call))

    def reply(self) -> bytes:
        """Return what the call ended with, or raise it: for who made it."""
        return self._call.result()

    def shared_reply(self) -> bytes:
        """Return what the call ended with, or raise a copy of it, for who joined.

        Raised in several tasks, one error would get the tracebacks and contexts of them all.
        """
        if not self._call.cancelled() and isinstance(error := self._call.exception(), CarrickError):
            raise copy.copy(error) from error.__cause__
        return self._call.result()

    def heard(self) -> None:
        """Take note of the call's error, which nobody may be left to hear of."""
        if not self._call.cancelled():
            self._call.exception()

    async def _within(self, seconds: float | None, clock: Clock) -> bool:
        if seconds is None:
            await asyncio.wait((self._call,))
            return True
        late = asyncio.timeout(None)
        loop = asyncio.get_running_loop()
        timer = clock.call_later(seconds, lambda: late.reschedule(loop.time()))
        try:
            async with late:
                await asyncio.wait((self._call,))
        except TimeoutError:
            return False
        finally:
            timer.cancel()
        return True


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait for the end of a task, whatever it is."""
    await asyncio.wait((task,))


def _late(ctx: Context) -> DeadlineError:
    assert ctx.method is not None
    return DeadlineError(
        f"{ctx.method.full_name}: the deadline passed while an earlier call for the same was under way",
        attempt=ctx.attempt,
    )


def _later(own: float | None, other: float | None) -> bool:
    return other is not None and (own is None or own > other)
