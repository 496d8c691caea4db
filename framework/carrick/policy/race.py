"""Attempts of one call side by side, of which the first to answer wins."""

import asyncio
from typing import Any

from carrick.cancellation import finish
from carrick.clock import Clock
from carrick.context import AttemptKind, Context
from carrick.errors import CarrickError
from carrick.options import OUTAGES
from carrick.policy.lateness import Lateness
from carrick.policy.pushback import pushback
from carrick.service import Service
from carrick.stream import close

__all__ = ["Race"]


class Race:
    """Attempts side by side until one has answered: the first runs in the caller's own task, hedges in theirs.

    So a call that is answered in time costs a timer and no task. Where a hedge is first, the first attempt is
    interrupted as ``asyncio.timeout`` interrupts: by a cancellation of the caller's task that is taken back, unless
    somebody else has cancelled it too.
    """

    def __init__(
        self,
        request: Any,
        ctx: Context,
        service: Service,
        lateness: Lateness,
        clock: Clock,
        caller: asyncio.Task[Any],
    ) -> None:
        self._request = request
        self._ctx = ctx
        self._service = service
        self._lateness = lateness
        self._clock = clock
        self._caller = caller
        self._cancelling = caller.cancelling()
        self._interrupted = False
        self._first_runs = True
        self._hedges: dict[asyncio.Task[Any], Context] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._decided = False
        self._reply: Any = None
        self._error: BaseException | None = None
        self._spare: list[Any] = []
        self._stopped = False

    @property
    def over(self) -> bool:
        """Whether no more attempts are to be begun: one has answered, all have failed, or a server asked for none."""
        return self._stopped or self._decided or not (self._first_runs or self._running)

    @property
    def hedges(self) -> int:
        """How many there were."""
        return len(self._hedges)

    def begin_beside(self) -> None:
        """Begin a hedge."""
        ctx = self._ctx.new_attempt(AttemptKind.HEDGE)
        task = asyncio.create_task(self._timed(ctx))
        self._hedges[task] = ctx
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def first_answered(self, reply: Any) -> Any:
        """Return the first answer: this one of the first attempt, unless a hedge came before it."""
        self._first_runs = False
        self._take_back()
        self._answered(self._ctx, reply)
        return await self._result()

    async def first_failed(self, error: BaseException) -> Any:
        """Return a hedge's answer when the first attempt failed, or was interrupted for it; else raise the error."""
        self._first_runs = False
        interrupted = self._take_back() and isinstance(error, asyncio.CancelledError)
        if isinstance(error, CarrickError) and (self._decided or _may_be_outdone(error)):
            self._fail(error)
        elif not interrupted:
            await finish(self._abandon())
            raise error
        return await self._result()

    def _take_back(self) -> bool:
        """Take back the cancellation by which the caller's task was interrupted; say whether that was the only one."""
        return self._interrupted and self._caller.uncancel() <= self._cancelling

    async def _result(self) -> Any:
        """Return the first answer, or raise the last error. Nothing runs any more then."""
        try:
            while not self._decided and self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            await finish(self._end())
        except BaseException:
            await finish(self._abandon())
            raise
        if self._error is not None:
            raise self._error
        return self._reply

    async def _timed(self, ctx: Context) -> Any:
        begun = self._clock.monotonic()
        try:
            return await self._service(self._request, ctx)
        finally:
            self._lateness.took(begun, self._clock.monotonic())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Take note of how a hedge ended."""
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._answered(self._hedges[task], task.result())
        elif isinstance(error, CarrickError) and _may_be_outdone(error):
            self._fail(error)
        elif not self._decided:
            self._decided, self._error = True, error
        if self._decided and self._first_runs and not self._interrupted:
            self._interrupted = True
            self._caller.cancel()

    def _answered(self, ctx: Context, reply: Any) -> None:
        """Take the first answer; what comes after it, in the same turn of the event loop, is one too many."""
        if self._decided:
            self._spare.append(reply)
            return
        self._decided, self._reply, self._error = True, reply, None
        ctx.call.winner = ctx.attempt

    def _fail(self, error: CarrickError) -> None:
        """Note an outage: the last one is raised when nothing else comes, or the one that asks for no more attempts.

        One that was never sent is raised when there is no other: it says nothing, and may be tried again for nothing.
        """
        if not self._decided and not self._stopped and (self._error is None or _sent(error)):
            self._error = error
        asked = pushback(error.attempt.trailers) if error.attempt is not None else None
        self._stopped = self._stopped or (asked is not None and asked < 0)

    async def _end(self) -> None:
        """Cancel what still runs, wait until it has ended, and close what it was answered with meanwhile.

        No more are begun while that takes its time.
        """
        self._stopped = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        for reply in self._spare:
            await self._close(reply)

    async def _abandon(self) -> None:
        """End everything, the answer too: nobody gets it."""
        await self._end()
        await self._close(self._reply)

    async def _close(self, reply: Any) -> None:
        assert self._ctx.method is not None
        if self._ctx.method.streams_responses:  # one response may have a field called aclose
            await close(reply)


def _may_be_outdone(error: BaseException) -> bool:
    """Say whether another attempt's answer would be better than this error."""
    return isinstance(error, CarrickError) and error.code in OUTAGES


def _sent(error: CarrickError) -> bool:
    return error.attempt is None or error.attempt.sent
