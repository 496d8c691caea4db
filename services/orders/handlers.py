"""The methods of Orders."""

from carrick import CarrickError, Code, Context
from carrick.store import Database
from services.orders.domain import Line, Order, Status
from services.orders.fulfilment import Fulfilment, lines_of
from services.orders.store import OrderBook
from shop.orders.v1.orders_carrick import OrdersServicer
from shop.orders.v1.orders_pb2 import (
    GetOrderRequest,
    GetOrderResponse,
    OrderStatus,
    PlaceOrderRequest,
    PlaceOrderResponse,
)

__all__ = ["OrdersHandlers"]

_STATUSES = {
    Status.PENDING: OrderStatus.ORDER_STATUS_PENDING,
    Status.PLACED: OrderStatus.ORDER_STATUS_PLACED,
    Status.REFUSED: OrderStatus.ORDER_STATUS_REFUSED,
}


class OrdersHandlers(OrdersServicer):
    """Takes orders."""

    def __init__(self, database: Database, book: OrderBook, fulfilment: Fulfilment) -> None:
        self._database = database
        self._book = book
        self._fulfilment = fulfilment

    async def place_order(self, request: PlaceOrderRequest, ctx: Context) -> PlaceOrderResponse:
        """Commit the intent, do the steps, then commit outcome, event and reply together."""
        lines = [Line(line.sku, line.quantity, line.unit_price) for line in request.lines]
        assert ctx.key is not None  # the contract requires one
        order = await self._book.intend(ctx.key, ctx.correlation_id, request.customer_id, lines)
        decision = await self._fulfilment.attempt(order) if order.status is Status.PENDING else None
        async with self._database.transaction() as tx:
            if decision is not None:
                await self._fulfilment.conclude(tx, order, decision)
            decided = await self._book.reread(tx, order)
            return await tx.reply(
                PlaceOrderResponse(order_id=decided.id, status=_status(decided), reason=decided.reason)
            )

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Read one order."""
        order = await self._book.get(request.order_id)
        if order is None:
            raise CarrickError(Code.NOT_FOUND, f"there is no order {request.order_id}")
        return GetOrderResponse(
            order_id=order.id,
            customer_id=order.customer_id,
            status=_status(order),
            total=order.total,
            lines=lines_of(order),
        )


def _status(order: Order) -> OrderStatus:
    return _STATUSES[order.status]
