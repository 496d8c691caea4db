"""The shelves: stock, and whom it is promised to."""

from collections.abc import Mapping
from pathlib import Path

from carrick.store import Migrations, Transaction
from services.refusal import refusal

__all__ = ["MIGRATIONS", "Shelves"]

MIGRATIONS = Migrations("shop.inventory", Path(__file__).parent / "migrations")

_TAKE = "UPDATE stock SET available = available - :quantity WHERE sku = :sku AND available >= :quantity"
_GIVE_BACK = """
UPDATE stock SET available = available + (
    SELECT quantity FROM reservation_items WHERE order_id = :order_id AND sku = stock.sku)
WHERE sku IN (SELECT sku FROM reservation_items WHERE order_id = :order_id)
"""
_SHIP = """
UPDATE stock SET shipped = shipped + (
    SELECT quantity FROM reservation_items WHERE order_id = :order_id AND sku = stock.sku)
WHERE sku IN (SELECT sku FROM reservation_items WHERE order_id = :order_id)
"""
_SET_STATUS = """
INSERT INTO reservations (order_id, status) VALUES (:order_id, :status)
ON CONFLICT (order_id) DO UPDATE SET status = excluded.status
"""


class Shelves:
    """What may be done with the stock, each in the caller's transaction."""

    async def deliver(self, tx: Transaction, stock: Mapping[str, int]) -> None:
        """Put the first delivery of each article on the shelves; articles that are known stay as they are."""
        for sku, quantity in stock.items():
            await tx.execute(
                "INSERT INTO stock (sku, delivered, available) VALUES (:sku, :quantity, :quantity) "
                "ON CONFLICT DO NOTHING",
                {"sku": sku, "quantity": quantity},
            )

    async def reserve(self, tx: Transaction, order_id: str, items: Mapping[str, int]) -> None:
        """Set all items aside for an order, once; raises a refusal when one is short or the order was released."""
        status = await self._status(tx, order_id)
        if status == "RELEASED":
            raise refusal("RELEASED", f"order {order_id} was released")
        if status is not None:
            return
        await tx.execute(_SET_STATUS, {"order_id": order_id, "status": "RESERVED"})
        for sku, quantity in items.items():
            taken = await tx.execute(_TAKE, {"sku": sku, "quantity": quantity})
            if taken.rowcount != 1:
                raise refusal("OUT_OF_STOCK", f"there are not {quantity} pieces of {sku}")
            await tx.execute(
                "INSERT INTO reservation_items (order_id, sku, quantity) VALUES (:order_id, :sku, :quantity)",
                {"order_id": order_id, "sku": sku, "quantity": quantity},
            )

    async def release(self, tx: Transaction, order_id: str) -> None:
        """Give an order's stock back, once, and bar it from reserving later."""
        status = await self._status(tx, order_id)
        if status == "SHIPPED":
            raise refusal("SHIPPED", f"order {order_id} is on its way")
        if status == "RESERVED":
            await tx.execute(_GIVE_BACK, {"order_id": order_id})
        await tx.execute(_SET_STATUS, {"order_id": order_id, "status": "RELEASED"})

    async def ship(self, tx: Transaction, order_id: str) -> None:
        """Send an order's stock out. Done twice it would be sent twice: the inbox stands before it."""
        await tx.execute(_SHIP, {"order_id": order_id})
        await tx.execute(_SET_STATUS, {"order_id": order_id, "status": "SHIPPED"})

    async def _status(self, tx: Transaction, order_id: str) -> str | None:
        row = (
            await tx.execute("SELECT status FROM reservations WHERE order_id = :order_id", {"order_id": order_id})
        ).first()
        return None if row is None else str(row.status)
