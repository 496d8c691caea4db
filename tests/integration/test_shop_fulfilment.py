"""An order's end when several runs race for it: one decision, and nothing kept that a refusal has to give back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carrick import CarrickError, Code, outbox, store
from carrick.outbox import Outbox
from carrick.rpc import Channel, Server
from carrick.store import IdempotencyRecords
from carrick.store.sqlite import SqliteDatabase
from services.inventory.handlers import InventoryHandlers
from services.inventory.store import MIGRATIONS as INVENTORY
from services.inventory.store import Shelves
from services.orders.domain import Line, Order, Placed, Refused
from services.orders.fulfilment import Fulfilment
from services.orders.store import MIGRATIONS as ORDERS
from services.orders.store import OrderBook
from services.payments.bank import Bank
from services.payments.handlers import PaymentsHandlers
from services.payments.store import MIGRATIONS as PAYMENTS
from services.payments.store import Ledger
from shop.inventory.v1.inventory_carrick import InventoryClient
from shop.orders.v1.orders_carrick import OrdersEvents
from shop.payments.v1.payments_carrick import PaymentsClient


@dataclass
class Shop:
    """Orders, with real inventory and payments behind it."""

    orders: SqliteDatabase
    inventory: SqliteDatabase
    payments: SqliteDatabase
    book: OrderBook
    fulfilment: Fulfilment

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


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Put the shop together in this process, with ten pieces of tea."""
    async with AsyncExitStack() as parts:
        databases = [
            await parts.enter_async_context(
                SqliteDatabase(
                    tmp_path / f"{migrations.component}.db", migrations=[store.MIGRATIONS, *extra, migrations]
                )
            )
            for migrations, extra in ((ORDERS, [outbox.MIGRATIONS]), (INVENTORY, []), (PAYMENTS, []))
        ]
        orders, inventory, payments = databases
        shelves = Shelves()
        async with inventory.transaction() as tx:
            await shelves.deliver(tx, {"tea": 10})
        channels = [
            await parts.enter_async_context(
                Channel(
                    (await parts.enter_async_context(Server(servicer, claims=IdempotencyRecords(database)))).address
                )
            )
            for servicer, database in (
                (InventoryHandlers(inventory, shelves), inventory),
                (PaymentsHandlers(payments, Ledger(), Bank(None)), payments),
            )
        ]
        book = OrderBook(orders)
        fulfilment = Fulfilment(
            book, InventoryClient(channels[0]), PaymentsClient(channels[1]), OrdersEvents(Outbox("orders"))
        )
        yield Shop(orders, inventory, payments, book, fulfilment)


async def test_runs_side_by_side_take_stock_and_money_once(shop: Shop) -> None:
    """A handler and recovery that run an order's steps at once reserve once, charge once and write one event."""
    order = await shop.order()
    decisions = await asyncio.gather(*(shop.fulfilment.attempt(order) for _ in range(4)))
    assert decisions == [Placed()] * 4
    await asyncio.gather(*(shop.conclude(order, decision) for decision in decisions))
    assert await shop.values(shop.inventory, "SELECT available FROM stock") == [8]
    assert await shop.values(shop.payments, "SELECT amount FROM charges") == [700]
    assert len(await shop.values(shop.orders, "SELECT id FROM carrick_outbox")) == 1


async def test_the_first_decision_holds(shop: Shop) -> None:
    """A refusal that was committed first is not undone by a run that placed the order meanwhile."""
    order = await shop.order()
    assert await shop.fulfilment.attempt(order) == Placed()
    await shop.conclude(order, Refused("TIMED_OUT"))
    await shop.conclude(order, Placed())
    assert await shop.values(shop.orders, "SELECT status FROM orders") == ["REFUSED"]
    assert await shop.values(shop.orders, "SELECT id FROM carrick_outbox") == []
    assert await shop.book.to_compensate(10) != []


async def test_a_refusal_gives_everything_back_however_often_it_is_worked_off(shop: Shop) -> None:
    """Stock and money of a refused order come back once."""
    order = await shop.order()
    await shop.fulfilment.attempt(order)
    await shop.conclude(order, Refused("TIMED_OUT"))
    for _ in range(3):
        await shop.fulfilment.give_back(order)
    assert await shop.values(shop.inventory, "SELECT available FROM stock") == [10]
    assert await shop.values(shop.payments, "SELECT status FROM charges") == ["REFUNDED"]
    assert await shop.book.to_compensate(10) == []


async def test_what_comes_too_late_takes_nothing(shop: Shop) -> None:
    """A run that was frozen until its order was refused and compensated gets a refusal from both services."""
    order = await shop.order()
    await shop.conclude(order, Refused("TIMED_OUT"))
    await shop.fulfilment.give_back(order)
    assert await shop.fulfilment.attempt(order) == Refused("RELEASED")
    assert await shop.values(shop.inventory, "SELECT available FROM stock") == [10]
    assert await shop.values(shop.payments, "SELECT id FROM charges") == []


async def test_fifty_customers_get_ten_pieces(shop: Shop) -> None:
    """Concurrent orders for more than there is: as many are placed as there are pieces, and nothing is oversold."""
    orders = [await shop.book.intend(f"key-{number}", "c", f"c{number}", [Line("tea", 1, 1)]) for number in range(50)]
    decisions = await asyncio.gather(*(shop.fulfilment.attempt(order) for order in orders))
    assert sum(decision == Placed() for decision in decisions) == 10
    assert sum(decision == Refused("OUT_OF_STOCK") for decision in decisions) == 40
    assert await shop.values(shop.inventory, "SELECT available FROM stock") == [0]


async def test_a_declined_charge_refuses_the_order(shop: Shop) -> None:
    """The bank's reason is the order's."""
    order = await shop.order(customer="broke-ann")
    assert await shop.fulfilment.attempt(order) == Refused("DECLINED")


async def test_the_same_key_is_the_same_order(shop: Shop) -> None:
    """Two intents under one key make one order, also at once."""
    first, second = await asyncio.gather(shop.order(), shop.order())
    assert first == second


async def test_a_shipped_order_is_not_released(shop: Shop) -> None:
    """What is on its way can't be given back."""
    order = await shop.order()
    await shop.fulfilment.attempt(order)
    async with shop.inventory.transaction() as tx:
        await Shelves().ship(tx, order.id)
    with pytest.raises(CarrickError) as raised:
        await shop.fulfilment.give_back(order)
    assert raised.value.code is Code.FAILED_PRECONDITION
