"""The customers: orders placed with rising concurrency, each under one key until its outcome is known."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from carrick import CarrickError, Code, Context
from carrick.context import enter
from carrick.ids import random_id
from shop.orders.v1.orders_carrick import OrdersClient
from shop.orders.v1.orders_pb2 import OrderLine, OrderStatus, PlaceOrderRequest

__all__ = ["ARTICLES", "STEPS", "Load", "Reply", "stock_for"]

ARTICLES = 40
STEPS = (4, 8, 16, 32)
"""Customers at once: the next step comes with each quarter of the orders."""

_PATIENCE = 90.0
_SCARCE = 4
_BROKE_SHARE = 0.03
_MOST_TIMES = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What a customer was told."""

    key: str
    order_id: str
    placed: bool


@dataclass(slots=True)
class Load:
    """Places ``orders`` orders, and goes on while ``busy`` says that there is still a fault to live through."""

    client: OrdersClient
    orders: int
    seed: int
    busy: Callable[[], bool]
    run: str = field(default_factory=lambda: random_id()[:8])
    asked: int = 0
    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    replies: list[Reply] = field(default_factory=list)
    unanswered: int = 0

    @property
    def done(self) -> float:
        """Share of the orders that have their outcome."""
        return (len(self.replies) + self.unanswered) / self.orders

    @property
    def customers(self) -> int:
        """How many customers order at once, as far as the load has come."""
        return STEPS[min(len(STEPS) - 1, int(self.done * len(STEPS)))]

    async def drive(self) -> None:
        """Return when every order asked for has its outcome or its customer has lost patience."""
        async with asyncio.TaskGroup() as group:
            for number in range(STEPS[-1]):
                group.create_task(self._customer(number))

    async def _customer(self, number: int) -> None:
        while self._more():
            if number >= self.customers:
                await asyncio.sleep(0.05)
                continue
            self.asked += 1
            with enter(Context(None)):  # all tries of one order share a correlation id
                await self._order(self.asked)

    def _more(self) -> bool:
        return self.asked < self.orders or (self.busy() and self.asked < self.orders * _MOST_TIMES)

    async def _order(self, number: int) -> None:
        key = f"{self.run}-{number}"
        request = _request(random.Random(f"{self.seed}/{number}"), number)
        give_up = time.monotonic() + _PATIENCE
        wait = 0.1
        while time.monotonic() < give_up:
            self.calls += 1
            try:
                reply = await self.client.place_order(request, key=key)
            except CarrickError as error:
                self.errors[error.code.name] += 1
                if error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED):
                    break
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, 2.0)
            else:
                placed = reply.status == OrderStatus.ORDER_STATUS_PLACED
                self.replies.append(Reply(key, reply.order_id, placed))
                return
        self.unanswered += 1


def stock_for(orders: int) -> dict[str, int]:
    """Return a stock of which the first few articles run out."""
    plenty = orders * _MOST_TIMES * 4
    scarce = max(3, orders // 40)
    return {_sku(number): scarce if number < _SCARCE else plenty for number in range(ARTICLES)}


def _request(chance: random.Random, number: int) -> PlaceOrderRequest:
    broke = chance.random() < _BROKE_SHARE
    return PlaceOrderRequest(
        customer_id=f"{'broke-' if broke else 'customer-'}{number % 97}",
        lines=[
            OrderLine(sku=_sku(article), quantity=chance.randint(1, 3), unit_price=100 + 10 * article)
            for article in chance.sample(range(ARTICLES), chance.randint(1, 3))
        ],
    )


def _sku(number: int) -> str:
    return f"article-{number:02d}"
