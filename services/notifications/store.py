"""What customers were told."""

from pathlib import Path

from carrick.store import Migrations, Transaction
from shop.notifications.v1.notifications_pb2 import Notification

__all__ = ["MIGRATIONS", "Letters"]

MIGRATIONS = Migrations("shop.notifications", Path(__file__).parent / "migrations")

_WRITE = """
INSERT INTO notifications (order_id, customer_id, text, correlation_id)
VALUES (:order_id, :customer_id, :text, :correlation_id)
"""
_LIST = "SELECT order_id, text FROM notifications WHERE customer_id = :customer_id ORDER BY seq LIMIT :most"


class Letters:
    """Writes to customers, each letter in the caller's transaction."""

    async def write(self, tx: Transaction, *, order_id: str, customer_id: str, text: str, correlation_id: str) -> None:
        """Write a letter. Done twice the customer gets two: the inbox stands before it."""
        await tx.execute(
            _WRITE,
            {"order_id": order_id, "customer_id": customer_id, "text": text, "correlation_id": correlation_id},
        )

    async def of(self, tx: Transaction, customer_id: str, most: int) -> list[Notification]:
        """Return a customer's letters, oldest first."""
        rows = (await tx.execute(_LIST, {"customer_id": customer_id, "most": most})).all()
        return [Notification(order_id=row.order_id, text=row.text) for row in rows]
