"""What a crash leaves behind: orders still PENDING, and compensations not done. Both are rows, worked off here."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

from carrick import CarrickError, Context
from carrick.context import enter
from carrick.loop import Loop
from carrick.store import Database
from services.orders.domain import Order, Placed, Refused
from services.orders.fulfilment import Fulfilment
from services.orders.store import OrderBook

__all__ = ["Recovery"]

_BATCH = 32
_AT_ONCE = 8
_logger = logging.getLogger("shop.orders.recovery")


class Recovery:
    """Looks every ``interval`` seconds for work that no handler is going to do.

    An order that has been PENDING for ``recover_after`` seconds, longer than any handler lives, is taken up again;
    after ``give_up_after`` seconds it is refused. Runs as a context manager.
    """

    def __init__(
        self,
        database: Database,
        book: OrderBook,
        fulfilment: Fulfilment,
        *,
        recover_after: float,
        give_up_after: float,
        interval: float = 0.5,
    ) -> None:
        self._database = database
        self._book = book
        self._fulfilment = fulfilment
        self._recover_after = recover_after
        self._give_up_after = give_up_after
        self._interval = interval
        self._loop = Loop("recovery", self._step)

    async def __aenter__(self) -> Self:
        await self._loop.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._loop.stop()

    async def _step(self) -> float:
        stale = await self._book.stale(self._recover_after, _BATCH)
        await _side_by_side((order, self._recover(order, age)) for order, age in stale)
        refused = await self._book.to_compensate(_BATCH)
        await _side_by_side((order, self._fulfilment.give_back(order)) for order in refused)
        return self._interval

    async def _recover(self, order: Order, age: float) -> None:
        if age >= self._give_up_after:
            decision: Placed | Refused = Refused("TIMED_OUT")
        else:
            decision = await self._fulfilment.attempt(order)
        async with self._database.transaction() as tx:
            await self._fulfilment.conclude(tx, order, decision)
        _logger.info("order %s was recovered: %s", order.id, decision)


async def _side_by_side(work: Iterable[tuple[Order, Coroutine[Any, Any, None]]]) -> None:
    """Do each order's work as part of what its customer began. What fails stays where it is, for the next time."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(order: Order, job: Coroutine[Any, Any, None]) -> None:
        async with turns:
            with enter(Context(None, correlation_id=order.correlation_id, key=order.key)):
                try:
                    await job
                except CarrickError as error:
                    _logger.warning("order %s has to wait: %s", order.id, error)

    await asyncio.gather(*(one(order, job) for order, job in work))
