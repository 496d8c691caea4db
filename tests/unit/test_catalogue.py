"""The event catalogue."""

import pytest

from carrick import ConfigurationError, EventCatalogue, EventSpec
from shop.orders.v1.orders_carrick import EVENTS, ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced


def spec(full_name: str, subject: str, source: str = "") -> EventSpec[OrderLine]:
    """Return an event by hand."""
    return EventSpec(full_name=full_name, subject=subject, key="sku", message=OrderLine, source=source)


def test_events_are_found_by_type_and_subject() -> None:
    """An event has one type and one subject, and either leads to it; anything else leads to nothing."""
    catalogue = EventCatalogue(ORDER_PLACED)
    assert catalogue.by_type(OrderPlaced.DESCRIPTOR.full_name) is ORDER_PLACED
    assert catalogue.by_subject("orders.placed.v1") is ORDER_PLACED
    assert catalogue.by_type("orders.placed.v1") is None
    assert catalogue.by_subject("orders.placed.v2") is None


def test_generated_modules_list_their_events() -> None:
    """What a contract says of an event is in its specification."""
    assert EVENTS == (ORDER_PLACED,)
    assert ORDER_PLACED.source == "shop/orders/v1/orders.proto"
    assert ORDER_PLACED.description.startswith("OrderPlaced: the order's stock is reserved")
    assert not ORDER_PLACED.deprecated


def test_events_come_in_the_order_of_their_subjects() -> None:
    """The order in which events are given does not show."""
    one, two, three = spec("test.v1.C", "a.v1"), spec("test.v1.A", "b.v1"), spec("test.v1.B", "b.v2")
    catalogue = EventCatalogue(three, one, two)
    assert (list(catalogue), len(catalogue)) == ([one, two, three], 3)
    assert not EventCatalogue()


@pytest.mark.parametrize(
    ("second", "clash"),
    [
        (
            spec("test.v1.Other", "placed.v1", "test/v1/other.proto"),
            (
                'subject "placed.v1": test.v1.Placed on placed.v1 (test/v1/placed.proto) '
                "and test.v1.Other on placed.v1 (test/v1/other.proto)"
            ),
        ),
        (
            spec("test.v1.Placed", "placed.v2"),
            'type "test.v1.Placed": test.v1.Placed on placed.v1 (test/v1/placed.proto) and test.v1.Placed on placed.v2',
        ),
    ],
)
def test_two_events_cannot_share_a_subject_or_a_type(second: EventSpec[OrderLine], clash: str) -> None:
    """A clash names both events and their contracts."""
    with pytest.raises(ConfigurationError) as caught:
        EventCatalogue(spec("test.v1.Placed", "placed.v1", "test/v1/placed.proto"), second)
    assert str(caught.value) == f"two events have the {clash}; leave one of them out, or change its contract"


def test_the_same_event_may_be_given_twice() -> None:
    """Two lists of events may overlap."""
    assert list(EventCatalogue(ORDER_PLACED, ORDER_PLACED)) == [ORDER_PLACED]
