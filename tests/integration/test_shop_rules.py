"""What the shop's contracts say of its requests: over the wire, each service refuses what breaks its rules."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest

from carrick import Code, MethodSpec, RemoteError
from shop.inventory.v1.inventory_carrick import RELEASE, RESERVE
from shop.inventory.v1.inventory_pb2 import Item, ReleaseRequest, ReserveRequest
from shop.notifications.v1.notifications_carrick import LIST_NOTIFICATIONS
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.orders.v1.orders_carrick import GET_ORDER, PLACE_ORDER
from shop.orders.v1.orders_pb2 import GetOrderRequest, OrderLine, OrderStatus, PlaceOrderRequest
from shop.payments.v1.payments_carrick import CHARGE, REFUND
from shop.payments.v1.payments_pb2 import ChargeRequest, RefundRequest
from tests.integration.shop import Shop, open_shop

LONG = "x" * 65
TEA = OrderLine(sku="tea", quantity=1, unit_price=350)
ITEM = Item(sku="tea", quantity=1)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Put the shop together in this process, with a piece of tea."""
    async with open_shop(tmp_path) as shop:
        await shop.deliver({"tea": 1})
        yield shop


async def refused(shop: Shop, method: MethodSpec[Any, Any], request: Any, key: str | None = None) -> dict[str, str]:
    """Make a call that is refused, and return what it was told: each field, with the rule that it breaks."""
    with pytest.raises(RemoteError) as caught:
        await shop.call(method, request, key=key)
    assert caught.value.code is Code.INVALID_ARGUMENT
    (details,) = caught.value.details
    assert isinstance(details, BadRequest)
    return {violation.field: violation.reason for violation in details.field_violations}


def order(*lines: OrderLine, customer_id: str = "ann") -> PlaceOrderRequest:
    """Return a request for an order."""
    return PlaceOrderRequest(customer_id=customer_id, lines=lines)


def line(*, sku: str = "tea", quantity: int = 1, unit_price: int = 350) -> PlaceOrderRequest:
    """Return a request for an order with this as its second line."""
    return order(TEA, OrderLine(sku=sku, quantity=quantity, unit_price=unit_price))


def reservation(*items: Item, order_id: str = "o-1") -> ReserveRequest:
    """Return a request for stock."""
    return ReserveRequest(order_id=order_id, items=items)


def charge(*, order_id: str = "o-1", customer_id: str = "ann", amount: int = 350) -> ChargeRequest:
    """Return a request for money."""
    return ChargeRequest(order_id=order_id, customer_id=customer_id, amount=amount)


@pytest.mark.parametrize(
    ("method", "request_", "field", "rule"),
    [
        (PLACE_ORDER, order(TEA, customer_id=""), "customer_id", "STRING_MIN_LEN"),
        (PLACE_ORDER, order(TEA, customer_id=LONG), "customer_id", "STRING_MAX_LEN"),
        (PLACE_ORDER, order(), "lines", "REPEATED_MIN_ITEMS"),
        (PLACE_ORDER, order(*[TEA] * 51), "lines", "REPEATED_MAX_ITEMS"),
        (PLACE_ORDER, line(sku=""), "lines[1].sku", "STRING_MIN_LEN"),
        (PLACE_ORDER, line(sku=LONG), "lines[1].sku", "STRING_MAX_LEN"),
        (PLACE_ORDER, line(quantity=0), "lines[1].quantity", "UINT32_GT_LTE"),
        (PLACE_ORDER, line(quantity=1_001), "lines[1].quantity", "UINT32_GT_LTE"),
        (PLACE_ORDER, line(unit_price=100_000_001), "lines[1].unit_price", "UINT64_LTE"),
        (GET_ORDER, GetOrderRequest(), "order_id", "STRING_MIN_LEN"),
        (GET_ORDER, GetOrderRequest(order_id=LONG), "order_id", "STRING_MAX_LEN"),
        (RESERVE, reservation(ITEM, order_id=""), "order_id", "STRING_MIN_LEN"),
        (RESERVE, reservation(ITEM, order_id=LONG), "order_id", "STRING_MAX_LEN"),
        (RESERVE, reservation(), "items", "REPEATED_MIN_ITEMS"),
        (RESERVE, reservation(*[ITEM] * 101), "items", "REPEATED_MAX_ITEMS"),
        (RESERVE, reservation(Item(quantity=1)), "items[0].sku", "STRING_MIN_LEN"),
        (RESERVE, reservation(Item(sku=LONG, quantity=1)), "items[0].sku", "STRING_MAX_LEN"),
        (RESERVE, reservation(Item(sku="tea")), "items[0].quantity", "UINT32_GT_LTE"),
        (RESERVE, reservation(Item(sku="tea", quantity=1_001)), "items[0].quantity", "UINT32_GT_LTE"),
        (RELEASE, ReleaseRequest(), "order_id", "STRING_MIN_LEN"),
        (RELEASE, ReleaseRequest(order_id=LONG), "order_id", "STRING_MAX_LEN"),
        (CHARGE, charge(order_id=""), "order_id", "STRING_MIN_LEN"),
        (CHARGE, charge(order_id=LONG), "order_id", "STRING_MAX_LEN"),
        (CHARGE, charge(customer_id=""), "customer_id", "STRING_MIN_LEN"),
        (CHARGE, charge(customer_id=LONG), "customer_id", "STRING_MAX_LEN"),
        (CHARGE, charge(amount=5_000_000_000_001), "amount", "UINT64_LTE"),
        (REFUND, RefundRequest(), "order_id", "STRING_MIN_LEN"),
        (REFUND, RefundRequest(order_id=LONG), "order_id", "STRING_MAX_LEN"),
        (LIST_NOTIFICATIONS, ListNotificationsRequest(), "customer_id", "STRING_MIN_LEN"),
        (LIST_NOTIFICATIONS, ListNotificationsRequest(customer_id=LONG), "customer_id", "STRING_MAX_LEN"),
    ],
)
async def test_a_bad_field_is_named(
    shop: Shop, method: MethodSpec[Any, Any], request_: Any, field: str, rule: str
) -> None:
    """The refusal names the one field that breaks a rule, and the rule."""
    assert await refused(shop, method, request_) == {field: rule}


async def test_every_bad_field_of_an_order_is_named(shop: Shop) -> None:
    """A customer need not correct an order one field at a time."""
    request = order(OrderLine(sku="tea"), OrderLine(quantity=1), customer_id="")
    assert await refused(shop, PLACE_ORDER, request) == {
        "customer_id": "STRING_MIN_LEN",
        "lines[0].quantity": "UINT32_GT_LTE",
        "lines[1].sku": "STRING_MIN_LEN",
    }


async def test_an_invalid_order_leaves_nothing_behind(shop: Shop) -> None:
    """No row is written for it, and the corrected order is placed under the same key."""
    assert await refused(shop, PLACE_ORDER, order(), key="k") == {"lines": "REPEATED_MIN_ITEMS"}
    assert await shop.values(shop.orders, "SELECT id FROM orders") == []
    reply = await shop.call(PLACE_ORDER, order(TEA), key="k")
    assert reply.status == OrderStatus.ORDER_STATUS_PLACED


async def test_the_largest_order_is_placed(shop: Shop) -> None:
    """What the rules of orders let through, those of the services behind it do too; its lines stay as they are."""
    lines = [OrderLine(sku=f"{number:064}", quantity=1_000, unit_price=100_000_000) for number in range(50)]
    await shop.deliver({each.sku: each.quantity for each in lines})
    reply = await shop.call(PLACE_ORDER, order(*lines, customer_id="x" * 64))
    assert reply.status == OrderStatus.ORDER_STATUS_PLACED
    kept = await shop.call(GET_ORDER, GetOrderRequest(order_id=reply.order_id))
    assert list(kept.lines) == lines
    assert await shop.values(shop.payments, "SELECT amount FROM charges") == [5_000_000_000_000]


async def test_a_free_order_is_placed(shop: Shop) -> None:
    """A price of 0 is a price."""
    reply = await shop.call(PLACE_ORDER, order(OrderLine(sku="tea", quantity=1)))
    assert reply.status == OrderStatus.ORDER_STATUS_PLACED
