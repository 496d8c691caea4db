"""The work that every side of ``make bench-rpc`` does: one small order is asked for, and answered."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from carrick import BreakerOptions, Context, MethodPolicy, MethodRoute, MethodSpec, RetryOptions
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse, OrderLine

Call = Callable[[GetOrderRequest], Awaitable[GetOrderResponse]]

SERVICE, METHOD = "bench.Orders", "GetOrder"
PATH = f"/{SERVICE}/{METHOD}"
TIMEOUT = 5.0
ORDER = GetOrderResponse(
    order_id="01a205eb-e03b-740a-90af-43100a0c3ee6",
    customer_id="customer-17",
    total=12_345,
    lines=[OrderLine(sku=f"article-{number}", quantity=number + 1, unit_price=350) for number in range(5)],
)
REQUEST = GetOrderRequest(order_id=ORDER.order_id)
GET_ORDER = MethodSpec(
    service=SERVICE,
    name=METHOD,
    request=GetOrderRequest,
    response=GetOrderResponse,
    policy=MethodPolicy(timeout=TIMEOUT, retry=RetryOptions(), breaker=BreakerOptions()),
)


class Side(Protocol):
    """What each module beside this one is."""

    def server(self) -> AbstractAsyncContextManager[str]:
        """Serve inside the block; gives ``host:port``."""
        ...

    def client(self, address: str) -> AbstractAsyncContextManager[Call]:
        """Give what makes a call."""
        ...


class Orders:
    """The servicer of Carrick's sides."""

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Answer."""
        return ORDER

    def routes(self) -> tuple[MethodRoute[GetOrderRequest, GetOrderResponse], ...]:
        """Return the one route."""
        return (MethodRoute(GET_ORDER, self.get_order),)
