"""The methods of Inventory, and what it does when an order was placed."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from carrick import Context
from carrick.store import Database
from services.inventory.store import Shelves
from shop.inventory.v1.inventory_carrick import InventoryServicer
from shop.inventory.v1.inventory_pb2 import ReleaseRequest, ReleaseResponse, ReserveRequest, ReserveResponse
from shop.orders.v1.orders_pb2 import OrderPlaced

__all__ = ["InventoryHandlers", "stocked"]


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
    """Return the quantities by article, those of the same article added up."""
    items: Counter[str] = Counter()
    for item in request.items:
        items[item.sku] += item.quantity
    return dict(items)
