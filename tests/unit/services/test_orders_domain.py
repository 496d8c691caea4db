"""What makes an order acceptable."""

import pytest
from google.rpc.error_details_pb2 import BadRequest

from carrick import CarrickError, Code
from services.orders.domain import MAX_LINES, MAX_QUANTITY, Line, check
from shop.orders.v1.orders_pb2 import OrderLine, PlaceOrderRequest

TEA = OrderLine(sku="tea", quantity=1, unit_price=350)


def test_an_acceptable_request_gives_its_lines() -> None:
    """Lines keep their order and their numbers."""
    request = PlaceOrderRequest(customer_id="ann", lines=[TEA, OrderLine(sku="cup", quantity=2, unit_price=900)])
    assert check(request) == (Line("tea", 1, 350), Line("cup", 2, 900))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (PlaceOrderRequest(lines=[TEA]), "customer_id"),
        (PlaceOrderRequest(customer_id="ann"), "lines"),
        (PlaceOrderRequest(customer_id="ann", lines=[TEA] * (MAX_LINES + 1)), "lines"),
        (PlaceOrderRequest(customer_id="ann", lines=[OrderLine(quantity=1)]), "lines[0].sku"),
        (PlaceOrderRequest(customer_id="ann", lines=[TEA, OrderLine(sku="tea")]), "lines[1].quantity"),
        (
            PlaceOrderRequest(customer_id="ann", lines=[OrderLine(sku="tea", quantity=MAX_QUANTITY + 1)]),
            "lines[0].quantity",
        ),
        (
            PlaceOrderRequest(customer_id="ann", lines=[OrderLine(sku="tea", quantity=1, unit_price=2**40)]),
            "lines[0].unit_price",
        ),
    ],
)
def test_a_bad_field_is_named(request_: PlaceOrderRequest, field: str) -> None:
    """The refusal names the field, for people and for programs."""
    with pytest.raises(CarrickError) as raised:
        check(request_)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert field in raised.value.message
    detail = raised.value.details[0]
    assert isinstance(detail, BadRequest)
    assert [violation.field for violation in detail.field_violations] == [field]
