"""Taking an order from PENDING to its end: the remote steps, and the one transaction that decides.

The steps carry the order's own keys, so they may be run again, even side by side, by the handler and by recovery: the
stock is set aside once and the money taken once. What decides is the first transaction that finds the order PENDING.
A refusal gives back everything that any of the runs may have taken, and bars what comes too late.
"""

from carrick import CarrickError, Code
from carrick.store import Transaction
from services.orders.domain import Order, Placed, Refused
from services.orders.store import OrderBook
from services.refusal import reason_of
from shop.inventory.v1.inventory_carrick import InventoryClient
from shop.inventory.v1.inventory_pb2 import Item, ReleaseRequest, ReserveRequest
from shop.orders.v1.orders_carrick import OrdersEvents
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced
from shop.payments.v1.payments_carrick import PaymentsClient
from shop.payments.v1.payments_pb2 import ChargeRequest, RefundRequest

__all__ = ["Fulfilment", "lines_of"]


class Fulfilment:
    """Runs an order's steps and writes the outcome."""

    def __init__(
        self, book: OrderBook, inventory: InventoryClient, payments: PaymentsClient, events: OrdersEvents
    ) -> None:
        self._book = book
        self._inventory = inventory
        self._payments = payments
        self._events = events

    async def attempt(self, order: Order) -> Placed | Refused:
        """Reserve and charge. Raises when the outcome is open; the order is then PENDING as before."""
        try:
            await self._inventory.reserve(
                ReserveRequest(
                    order_id=order.id, items=[Item(sku=line.sku, quantity=line.quantity) for line in order.lines]
                ),
                key=order.reserve_key,
            )
            await self._payments.charge(
                ChargeRequest(order_id=order.id, customer_id=order.customer_id, amount=order.total),
                key=order.charge_key,
            )
        except CarrickError as error:
            if error.code is Code.FAILED_PRECONDITION:
                return Refused(reason_of(error))
            raise
        return Placed()

    async def conclude(self, tx: Transaction, order: Order, decision: Placed | Refused) -> None:
        """Write the decision, with its event or its compensation, unless the order was decided before."""
        if await self._book.decide(tx, order, decision) and isinstance(decision, Placed):
            await self._events.order_placed(
                tx,
                OrderPlaced(order_id=order.id, customer_id=order.customer_id, lines=lines_of(order), total=order.total),
            )

    async def give_back(self, order: Order) -> None:
        """Release the stock and refund the money of a refused order; it may be done again."""
        await self._inventory.release(ReleaseRequest(order_id=order.id))
        await self._payments.refund(RefundRequest(order_id=order.id))
        await self._book.compensated(order)


def lines_of(order: Order) -> list[OrderLine]:
    """Return an order's lines as messages."""
    return [OrderLine(sku=line.sku, quantity=line.quantity, unit_price=line.unit_price) for line in order.lines]
