"""The method of Notifications, and what it does when an order was placed."""

from carrick import Context
from carrick.store import Database
from services.notifications.store import Letters
from shop.notifications.v1.notifications_carrick import NotificationsServicer
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest, ListNotificationsResponse
from shop.orders.v1.orders_carrick import OrdersClient
from shop.orders.v1.orders_pb2 import GetOrderRequest, OrderPlaced

__all__ = ["NotificationsHandlers"]

_MOST = 100


class NotificationsHandlers(NotificationsServicer):
    """Writes to customers."""

    def __init__(self, database: Database, letters: Letters, orders: OrdersClient) -> None:
        self._database = database
        self._letters = letters
        self._orders = orders

    async def list_notifications(self, request: ListNotificationsRequest, ctx: Context) -> ListNotificationsResponse:
        """Read a customer's letters."""
        async with self._database.read() as tx:
            return ListNotificationsResponse(notifications=await self._letters.of(tx, request.customer_id, _MOST))

    async def order_placed(self, event: OrderPlaced, ctx: Context) -> None:
        """Ask orders how things stand, then write to the customer."""
        order = await self._orders.get_order(GetOrderRequest(order_id=event.order_id))
        pieces = sum(line.quantity for line in order.lines)
        async with self._database.transaction() as tx:
            await self._letters.write(
                tx,
                order_id=order.order_id,
                customer_id=order.customer_id,
                text=f"Your order of {pieces} pieces for {order.total / 100:.2f} is placed.",
                correlation_id=ctx.correlation_id,
            )
            await tx.handled()
