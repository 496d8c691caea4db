"""Works that wait for a transaction, and how they get one: in groups, in turn with other transactions."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar

from carrick.cancellation import outlast
from carrick.errors import Code, StoreError
from carrick.store.sqlite_group import Ended, GroupOptions, Work, not_run
from carrick.store.sqlite_thread import WriterThread
from carrick.store.sync_transaction import SyncTransaction
from carrick.store.turns import Turns

__all__ = ["GroupWriter"]

_LOOK = 5.0
"""Seconds after which a work that still runs is named in the log."""

T = TypeVar("T")
_logger = logging.getLogger("carrick.store")


class GroupWriter:
    """Runs works on a thread, those that wait at a time in one transaction. Used from one event loop."""

    def __init__(self, thread: WriterThread, turns: Turns, options: GroupOptions, patience: float) -> None:
        self._thread = thread
        self._turns = turns
        self._options = options
        self._patience = patience
        self._waiting: deque[Work[Any]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def run(self, function: Callable[[SyncTransaction], T]) -> T:
        """Run a function in a transaction that is committed when this returns."""
        _check(function)
        self._turns.check()
        if len(self._waiting) >= self._options.queue:
            raise StoreError(Code.RESOURCE_EXHAUSTED, f"{len(self._waiting)} functions wait for their transaction")
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()
        work = Work(function, copy_context(), partial(_set, settled))
        patience = loop.call_later(self._patience, self._give_up, work)
        self._waiting.append(work)
        self._serve()
        try:
            await self._outcome(work, settled)
        finally:
            patience.cancel()
        return work.result()

    async def stop(self) -> None:
        """End the thread. The turns are closed by then: what was begun is finished, and what waited refused."""
        if self._serving is not None:
            await asyncio.wait((self._serving,))
        await self._thread.stop()

    async def _outcome(self, work: Work[Any], settled: asyncio.Future[None]) -> None:
        """Wait for it. A cancellation withdraws it when it has not begun, and else waits with it."""
        try:
            await asyncio.shield(settled)
        except asyncio.CancelledError:
            if work.take():
                self._forget(work)
            else:
                await outlast(settled)
            raise

    def _give_up(self, work: Work[Any]) -> None:
        self._withdraw(
            work, StoreError(Code.RESOURCE_EXHAUSTED, f"no turn within {self._patience:g} s: too many transactions")
        )

    def _withdraw(self, work: Work[Any], error: StoreError) -> None:
        if work.take():
            self._forget(work)
            work.fail(error)
            work.settled()

    def _forget(self, work: Work[Any]) -> None:
        """Make room for others. It is not there any more when it was handed to the thread and had not begun."""
        if work in self._waiting:
            self._waiting.remove(work)

    def _serve(self) -> None:
        if self._serving is None and self._waiting:
            # in a context of its own: nobody's call is being handled here
            self._serving = asyncio.get_running_loop().create_task(self._groups(), context=Context())
            self._serving.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._serving = None
        self._serve()  # a work came, or the task was cancelled by somebody who cancels all

    async def _groups(self) -> None:
        while self._waiting:
            try:
                async with self._turns.turn():
                    if self._waiting:  # they may all have been withdrawn
                        await outlast(self._group())
            except StoreError as closed:
                while self._waiting:
                    self._withdraw(self._waiting.popleft(), closed)

    def _group(self) -> asyncio.Future[None]:
        """Hand a group to the thread. What comes back is dealt with even if all who wait for it are cancelled."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        look = loop.call_later(_LOOK, self._look)

        def ended(group: Ended) -> None:
            look.cancel()
            self._waiting.extendleft(reversed([work for work in group.rest if not work.taken]))
            for work in group.begun:
                _settle(work)
            _set(over)

        works = [self._waiting.popleft() for _ in range(min(self._options.most, len(self._waiting)))]
        try:
            self._thread.run(works, ended)
        except Exception as error:  # noqa: BLE001  # no thread is to be had: nobody may wait for ever
            ended(not_run(works, error))
        return over

    def _look(self) -> None:
        work = self._thread.current
        if work is not None:
            _logger.warning(
                "%s still runs after %g s, and no other transaction can; nothing but its own end ends it",
                work.describe(),
                _LOOK,
            )


def _check(function: object) -> None:
    """Refuse what would not be run by a call."""
    if not callable(function):
        raise TypeError(f"run() takes a plain function of a transaction, not a {type(function).__name__}")
    for called in (function, type(function).__call__):
        if inspect.iscoroutinefunction(called):
            raise TypeError(
                "run() takes a plain function, not an async one: write `def`, and call tx.execute(...) without await; "
                "what has to await goes into `async with database.transaction() as tx`"
            )
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise TypeError("run() takes a plain function, not a generator: return a list in place of yielding")


def _settle(work: Work[Any]) -> None:
    try:
        if work.tx is not None:
            work.context.run(work.tx.committed)
    except BaseException as error:  # noqa: BLE001  # an action's: its caller hears of it, and nobody else
        work.fail(error)
    work.settled()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
