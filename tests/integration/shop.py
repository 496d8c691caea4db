"""The shop's services in this process: real servers, databases and handlers, and a channel to each."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from carrick import MethodPolicy, MethodSpec, outbox, store
from carrick.outbox import Outbox
from carrick.rpc import Channel, Server, Servicer
from carrick.store import IdempotencyRecords, Migrations
from carrick.store.sqlite import SqliteDatabase
from services.inventory.handlers import InventoryHandlers
from services.inventory.store import MIGRATIONS as INVENTORY
from services.inventory.store import Shelves
from services.notifications.handlers import NotificationsHandlers
from services.notifications.store import MIGRATIONS as NOTIFICATIONS
from services.notifications.store import Letters
from services.orders.domain import Line, Order, Placed, Refused
from services.orders.fulfilment import Fulfilment
from services.orders.handlers import OrdersHandlers
from services.orders.store import MIGRATIONS as ORDERS
from services.orders.store import OrderBook
from services.payments.bank import Bank
from services.payments.handlers import PaymentsHandlers
from services.payments.store import MIGRATIONS as PAYMENTS
from services.payments.store import Ledger
from shop.inventory.v1.inventory_carrick import InventoryClient
from shop.orders.v1.orders_carrick import OrdersClient, OrdersEvents
from shop.payments.v1.payments_carrick import PaymentsClient

__all__ = ["Shop", "open_shop"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


@dataclass
class Shop:
    """Databases of the four services, a channel to each, and what orders is made of."""

    orders: SqliteDatabase
    inventory: SqliteDatabase
    payments: SqliteDatabase
    notifications: SqliteDatabase
    book: OrderBook
    fulfilment: Fulfilment
    channels: Mapping[str, Channel]
    """By the service's name in its contract."""

    async def call(self, method: MethodSpec[Req, Res], request: Req, *, key: str | None = None) -> Res:
        """Call a method of one of the services."""
        return await self.channels[method.service].unary(method)(request, key=key)

    async def deliver(self, stock: Mapping[str, int]) -> None:
        """Put articles on the shelves."""
        async with self.inventory.transaction() as tx:
            await Shelves().deliver(tx, stock)

    async def order(self, *, customer: str = "ann", quantity: int = 2) -> Order:
        """Make a pending order."""
        return await self.book.intend(f"key-{customer}-{quantity}", "c", customer, [Line("tea", quantity, 350)])

    async def conclude(self, order: Order, decision: Placed | Refused) -> None:
        """Write a decision in a transaction of its own."""
        async with self.orders.transaction() as tx:
            await self.fulfilment.conclude(tx, order, decision)

    async def values(self, database: SqliteDatabase, query: str) -> list[Any]:
        """Read one column."""
        async with database.read() as tx:
            return [row[0] for row in (await tx.execute(query)).all()]


@asynccontextmanager
async def open_shop(folder: Path) -> AsyncIterator[Shop]:
    """Start the services, their databases in this folder, with nothing on the shelves."""
    async with AsyncExitStack() as parts:

        async def database(migrations: Migrations) -> SqliteDatabase:
            file = folder / f"{migrations.component}.db"
            every = [store.MIGRATIONS, outbox.MIGRATIONS, migrations]
            return await parts.enter_async_context(SqliteDatabase(file, migrations=every))

        async def channel(servicer: Servicer, claims: SqliteDatabase) -> Channel:
            server = await parts.enter_async_context(Server(servicer, claims=IdempotencyRecords(claims)))
            patient = MethodPolicy(timeout=30.0)  # what is tested is what comes out, on a busy machine too
            return await parts.enter_async_context(Channel(server.address, policy=patient))

        orders, inventory = await database(ORDERS), await database(INVENTORY)
        payments, notifications = await database(PAYMENTS), await database(NOTIFICATIONS)
        book = OrderBook(orders)
        to_inventory = await channel(InventoryHandlers(inventory, Shelves()), inventory)
        to_payments = await channel(PaymentsHandlers(payments, Ledger(), Bank(None)), payments)
        fulfilment = Fulfilment(
            book, InventoryClient(to_inventory), PaymentsClient(to_payments), OrdersEvents(Outbox("orders"))
        )
        to_orders = await channel(OrdersHandlers(orders, book, fulfilment), orders)
        letters = NotificationsHandlers(notifications, Letters(), OrdersClient(to_orders))
        channels = {
            "shop.inventory.v1.Inventory": to_inventory,
            "shop.payments.v1.Payments": to_payments,
            "shop.orders.v1.Orders": to_orders,
            "shop.notifications.v1.Notifications": await channel(letters, notifications),
        }
        yield Shop(orders, inventory, payments, notifications, book, fulfilment, channels)
