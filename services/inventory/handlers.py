"""The methods of Inventory, and what it does when an order was placed."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from carrick import Context
from carrick.store import Database
from services.inventory.store import Shelves
from services.refusal import invalid
from shop.inventory.v1.inventory_carrick import InventoryServicer
from shop.inventory.v1.inventory_pb2 import ReleaseRequest, ReleaseResponse, ReserveRequest, ReserveResponse
from shop.orders.v1.orders_pb2 import OrderPlaced

__all__ = ["InventoryHandlers", "stocked"]

_MAX_ITEMS = 100


class InventoryHandlers(InventoryServicer):
    """Promises stock, and ships it."""

    def __init__(self, database: Database, shelves: Shelves) -> None:
        self._database = database
        self._shelves = shelves

    async def reserve(self, request: ReserveRequest, ctx: Context) -> ReserveResponse:
        """Reserve all items or none."""
        items = _items(request)
        async with self._database.transaction() as tx:
            await self._shelves.reserve(tx, request.order_id, items)
            return await tx.reply(ReserveResponse())

    async def release(self, request: ReleaseRequest, ctx: Context) -> ReleaseResponse:
        """Give back what an order holds."""
        async with self._database.transaction() as tx:
            await self._shelves.release(tx, request.order_id)
        return ReleaseResponse()

    async def order_placed(self, event: OrderPlaced, ctx: Context) -> None:
        """Ship the order's stock."""
        async with self._database.transaction() as tx:
            await self._shelves.ship(tx, event.order_id)
            await tx.handled()


@asynccontextmanager
async def stocked(database: Database, shelves: Shelves, stock: Mapping[str, int]) -> AsyncIterator[None]:
    """Part of an app: see to it that the first delivery is on the shelves."""
    async with database.transaction() as tx:
        await shelves.deliver(tx, stock)
    yield


def _items(request: ReserveRequest) -> dict[str, int]:
    """Return the quantities by article, the same article's lines added up."""
    violations: dict[str, str] = {}
    if not request.order_id:
        violations["order_id"] = "must not be empty"
    if not 1 <= len(request.items) <= _MAX_ITEMS:
        violations["items"] = f"must be 1 to {_MAX_ITEMS}, not {len(request.items)}"
    if not all(item.sku and item.quantity for item in request.items):
        violations["items"] = "each must have a sku and a quantity of 1 or more"
    if violations:
        raise invalid(violations)
    items: Counter[str] = Counter()
    for item in request.items:
        items[item.sku] += item.quantity
    return dict(items)
