import pytest

from carrick import EventSpec
from carrick.event import PARTITIONS, partition_of
from shop.orders.v1.orders_carrick import ORDER_PLACED
from shop.orders.v1.orders_pb2 import OrderLine, OrderPlaced


@pytest.mark.parametrize(
    ("key", "partition"),
    [("", 14), ("a", 14), ("order-1", 8), ("order-2", 15), ("c-42", 3), ("ünïcode", 15)],
)
def test_partitions_are_pinned(key: str, partition: int) -> None:
    """A key's partition never changes, or its events would overtake each other at a deployment."""
    assert partition_of(key) == partition


def test_partitions_are_all_used_and_no_others() -> None:
    """Keys spread over all 16 partitions."""
    assert PARTITIONS == 16
    assert {partition_of(str(number)) for number in range(1000)} == set(range(16))


def test_names_on_the_broker() -> None:
    """Stream, subjects and filter follow from the contract's subject."""
    assert ORDER_PLACED.stream == "ORDERS"
    assert ORDER_PLACED.stream_subjects == "orders.>"
    assert ORDER_PLACED.consumer_filter == "orders.placed.v1.*"
    assert ORDER_PLACED.subject_of("order-1") == "orders.placed.v1.p08"


def test_the_key_is_text() -> None:
    """A key field of any scalar type gives text."""
    assert ORDER_PLACED.key_of(OrderPlaced(order_id="o-1")) == "o-1"
    numbered = EventSpec(full_name="test.v1.Lined", subject="lines.v1", key="quantity", message=OrderLine)
    assert numbered.key_of(OrderLine(quantity=7)) == "7"
