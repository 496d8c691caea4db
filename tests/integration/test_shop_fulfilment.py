"""An order's end when several runs race for it: one decision, and nothing kept that a refusal has to give back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carrick import CarrickError, Code
from services.inventory.store import Shelves
from services.orders.domain import Line, Placed, Refused
from tests.integration.shop import Shop, open_shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Put the shop together in this process, with ten pieces of tea."""
    async with open_shop(tmp_path) as shop:
        await shop.deliver({"tea": 10})
        yield shop


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
