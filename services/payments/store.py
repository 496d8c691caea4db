"""The ledger: charges and refunds."""

from pathlib import Path

from carrick.ids import time_ordered_id
from carrick.store import Migrations, Transaction
from services.refusal import refusal

__all__ = ["MIGRATIONS", "Ledger"]

MIGRATIONS = Migrations("shop.payments", Path(__file__).parent / "migrations")

_CHARGE = """
INSERT INTO charges (id, order_id, customer_id, amount, status)
VALUES (:id, :order_id, :customer_id, :amount, 'CAPTURED')
"""


class Ledger:
    """What may be done with money, each in the caller's transaction."""

    async def charge(self, tx: Transaction, order_id: str, customer_id: str, amount: int) -> str:
        """Write a charge and return its id; raises a refusal when the order was refunded."""
        refunded = await tx.execute("SELECT 1 FROM refunded_orders WHERE order_id = :order_id", {"order_id": order_id})
        if refunded.first() is not None:
            raise refusal("REFUNDED", f"order {order_id} was refunded")
        charge_id = time_ordered_id()
        await tx.execute(_CHARGE, {"id": charge_id, "order_id": order_id, "customer_id": customer_id, "amount": amount})
        return charge_id

    async def refund(self, tx: Transaction, order_id: str) -> None:
        """Give back what the order paid, once, and bar it from being charged later."""
        await tx.execute(
            "INSERT INTO refunded_orders (order_id) VALUES (:order_id) ON CONFLICT DO NOTHING", {"order_id": order_id}
        )
        await tx.execute("UPDATE charges SET status = 'REFUNDED' WHERE order_id = :order_id", {"order_id": order_id})
