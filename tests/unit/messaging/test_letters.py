"""Dead letters as an operator sees them."""

import pytest

from carrick.messaging.letters import DeadLetter, LetterSelection
from carrick.messaging.redrive import Redrive
from carrick.subjects import matches_any_partition
from carrick.testing import FakeClock, MemoryBroker
from tests.unit.testing.letters import put_letters

LETTER = DeadLetter(
    number=7,
    consumer="stock",
    stream="ORDERS",
    sequence=3,
    subject="orders.placed.v1.p07",
    data=b"",
    headers={"ce-type": "shop.orders.v1.OrderPlaced", "ce-partitionkey": "caf%C3%A9"},
    reason="PermanentError: No such article",
    attempts=1,
    stack="",
    dead_at=1000.0,
)


def test_what_is_encoded_in_headers_is_read() -> None:
    """A key outside ASCII is what it was."""
    assert LETTER.key == "café"


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (LetterSelection(), True),
        (LetterSelection(numbers={7, 8}), True),
        (LetterSelection(numbers={8}), False),
        (LetterSelection(consumer="stock", key="café"), True),
        (LetterSelection(consumer="other", key="café"), False),
        (LetterSelection(subject="orders.placed.v1"), True),
        (LetterSelection(subject="orders.*.v1"), True),
        (LetterSelection(subject="orders.>"), True),
        (LetterSelection(subject="orders.placed.v1.p08"), False),
        (LetterSelection(subject="orders"), False),
        (LetterSelection(type="shop.orders.v1.OrderPlaced"), True),
        (LetterSelection(type="OrderPlaced"), False),
        (LetterSelection(reason="no SUCH"), True),
        (LetterSelection(reason="timeout"), False),
        (LetterSelection(since=1000.0), True),
        (LetterSelection(since=1000.5), False),
        (LetterSelection(until=1000.5), True),
        (LetterSelection(until=1000.0), False),
    ],
)
def test_filters_narrow_each_other(selection: LetterSelection, *, chosen: bool) -> None:
    """A letter is meant when it has all of what is given."""
    assert (LETTER in selection) is chosen


def test_a_subject_without_a_partition_is_every_partition() -> None:
    """But not other subjects that begin like it."""
    assert matches_any_partition("orders.placed.v1.p07", "orders.placed.v1")
    assert not matches_any_partition("orders.placed.v1.eu", "orders.placed.v1")


async def test_numbers_are_found_wherever_they_are() -> None:
    """Among many; those that are not there are passed over."""
    broker = MemoryBroker(FakeClock())
    assert [letter async for letter in Redrive(broker).selected(LetterSelection())] == []
    await put_letters(broker, *(f"k{number}" for number in range(450)))
    found = [letter async for letter in Redrive(broker).selected(LetterSelection(numbers={3, 449, 451}))]
    assert [letter.number for letter in found] == [3, 449]
