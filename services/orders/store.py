"""The order book: orders, and what refused ones still have to give back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carrick.ids import derived_id, time_ordered_id
from carrick.store import Database, Migrations, Transaction
from services.orders.domain import Line, Order, Placed, Refused, Status

__all__ = ["MIGRATIONS", "OrderBook"]

MIGRATIONS = Migrations("shop.orders", Path(__file__).parent / "migrations")

_INSERT = """
INSERT INTO orders (id, key, correlation_id, customer_id, total, status, reserve_key, charge_key)
VALUES (:id, :key, :correlation_id, :customer_id, :total, 'PENDING', :reserve_key, :charge_key)
"""
_INSERT_LINE = """
INSERT INTO order_lines (order_id, position, sku, quantity, unit_price)
VALUES (:order_id, :position, :sku, :quantity, :unit_price)
"""
_LINES = "SELECT sku, quantity, unit_price FROM order_lines WHERE order_id = :id ORDER BY position"
_STALE = """
SELECT id, (julianday('now') - 2440587.5) * 86400.0 - created_at AS age
FROM orders WHERE status = 'PENDING' AND created_at <= (julianday('now') - 2440587.5) * 86400.0 - :age
ORDER BY created_at LIMIT :most
"""
_DECIDE = "UPDATE orders SET status = :status, reason = :reason WHERE id = :id AND status = 'PENDING'"


class OrderBook:
    """Keeps the orders. A status leaves PENDING once, by whoever comes first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def intend(self, key: str, correlation_id: str, customer_id: str, lines: Sequence[Line]) -> Order:
        """Return the order of this key, made PENDING and committed when there was none."""
        async with self._database.transaction() as tx:
            found = await self._by(tx, "key", key)
            if found is not None:
                return found
            order = Order(
                id=time_ordered_id(),
                key=key,
                correlation_id=correlation_id,
                customer_id=customer_id,
                lines=tuple(lines),
                status=Status.PENDING,
                reason="",
                reserve_key=derived_id(key, "reserve"),
                charge_key=derived_id(key, "charge"),
            )
            await self._insert(tx, order)
            return order

    async def get(self, order_id: str) -> Order | None:
        """Return an order, or None."""
        async with self._database.read() as tx:
            return await self._by(tx, "id", order_id)

    async def decide(self, tx: Transaction, order: Order, decision: Placed | Refused) -> bool:
        """Write the decision unless another was written before; say whether it is this one that holds.

        A refusal also writes what is to be given back.
        """
        refused = decision if isinstance(decision, Refused) else None
        status = Status.REFUSED if refused else Status.PLACED
        result = await tx.execute(
            _DECIDE, {"status": status.value, "reason": refused.reason if refused else "", "id": order.id}
        )
        first = result.rowcount == 1
        if first and refused:
            await tx.execute("INSERT INTO compensations (order_id) VALUES (:id)", {"id": order.id})
        return first

    async def reread(self, tx: Transaction, order: Order) -> Order:
        """Return the order as it stands inside this transaction."""
        found = await self._by(tx, "id", order.id)
        assert found is not None
        return found

    async def stale(self, age: float, most: int) -> list[tuple[Order, float]]:
        """Return orders that have been PENDING for ``age`` seconds or longer, oldest first, with their ages."""
        async with self._database.read() as tx:
            rows = (await tx.execute(_STALE, {"age": age, "most": most})).all()
            found = [(await self._by(tx, "id", row.id), float(row.age)) for row in rows]
        return [(order, seconds) for order, seconds in found if order is not None]

    async def to_compensate(self, most: int) -> list[Order]:
        """Return refused orders that have not given everything back."""
        async with self._database.read() as tx:
            rows = (
                await tx.execute("SELECT order_id FROM compensations WHERE done = 0 LIMIT :most", {"most": most})
            ).all()
            found = [await self._by(tx, "id", row.order_id) for row in rows]
        return [order for order in found if order is not None]

    async def compensated(self, order: Order) -> None:
        """Note that a refused order has given everything back."""
        async with self._database.transaction() as tx:
            await tx.execute("UPDATE compensations SET done = 1 WHERE order_id = :id", {"id": order.id})

    async def _insert(self, tx: Transaction, order: Order) -> None:
        await tx.execute(
            _INSERT,
            {
                "id": order.id,
                "key": order.key,
                "correlation_id": order.correlation_id,
                "customer_id": order.customer_id,
                "total": order.total,
                "reserve_key": order.reserve_key,
                "charge_key": order.charge_key,
            },
        )
        await tx.execute(
            _INSERT_LINE,
            [
                {
                    "order_id": order.id,
                    "position": position,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "unit_price": line.unit_price,
                }
                for position, line in enumerate(order.lines)
            ],
        )

    async def _by(self, tx: Transaction, column: str, value: str) -> Order | None:
        row: Any = (
            await tx.execute(f"SELECT * FROM orders WHERE {column} = :value", {"value": value})  # noqa: S608
        ).first()
        if row is None:
            return None
        lines = (await tx.execute(_LINES, {"id": row.id})).all()
        return Order(
            id=row.id,
            key=row.key,
            correlation_id=row.correlation_id,
            customer_id=row.customer_id,
            lines=tuple(Line(line.sku, line.quantity, line.unit_price) for line in lines),
            status=Status(row.status),
            reason=row.reason,
            reserve_key=row.reserve_key,
            charge_key=row.charge_key,
        )
