"""What an ordered consumer makes of deliveries, one by one."""

import pytest

from carrick.messaging.nats.delivery import NatsDelivery
from carrick.messaging.nats.intake import Intake, Taken
from carrick.messaging.nats.ordering import Order, Verdict


class _Nobody:
    stream = "S"

    def say(self, delivery: NatsDelivery, word: bytes, what: str) -> None:
        """Say nothing."""

    def settled(self, delivery: NatsDelivery) -> None:
        """Do nothing."""

    def handed_back(self, delivery: NatsDelivery) -> None:
        """Do nothing."""

    def prolonged(self, delivery: NatsDelivery) -> None:
        """Do nothing."""


def _delivery(sequence: int, *, time: int | None = None, size: int = 1, until: float = 10.0) -> NatsDelivery:
    place = (1, sequence, 0, sequence if time is None else time, 0)
    reply = b"$JS.ACK.S.c.1.%d" % sequence
    return NatsDelivery(_Nobody(), b"s.a", reply, b"x" * size, None, place, until)


class _Ordered:
    """An ordered intake, which is told stream sequence and count."""

    def __init__(self, *, max_in_flight: int = 10) -> None:
        self.order = Order()
        self.order.settled_to(0, 0)
        self.intake = Intake(max_in_flight=max_in_flight, max_bytes=100, order=self.order)

    def came(self, sequence: int, count: int, *, rest: int = 100, time: int | None = None) -> Taken:
        """Take one in."""
        return self.intake.came(_delivery(sequence, time=time), count, rest)

    def handed_out(self) -> list[int]:
        """Return what is handed out."""
        return [each.sequence for each in self.intake.take(100, 0.0)]


def test_what_comes_without_a_gap_in_the_count_is_handed_out() -> None:
    """Sequences of the stream may have gaps: others are filtered or removed."""
    ordered = _Ordered()
    assert [ordered.came(3, 1), ordered.came(4, 2), ordered.came(9, 3)] == [Taken.WAITS] * 3
    assert ordered.handed_out() == [3, 4, 9]


def test_after_a_gap_all_is_dropped_until_the_count_begins_anew() -> None:
    """Then what was handed out is known, and what was missing comes in its place."""
    ordered = _Ordered()
    ordered.came(1, 1)
    assert [ordered.came(3, 3), ordered.came(4, 4)] == [Taken.DROPPED] * 2
    assert ordered.order.lost
    assert [ordered.came(1, 1), ordered.came(2, 2), ordered.came(3, 3)] == [Taken.KNOWN, Taken.WAITS, Taken.WAITS]
    assert ordered.handed_out() == [1, 2, 3]


def test_late_ones_of_an_earlier_count_are_dropped() -> None:
    """They may come after somebody had the broker begin anew."""
    ordered = _Ordered()
    ordered.came(1, 1)
    ordered.order.lose()
    assert ordered.came(2, 2) is Taken.DROPPED
    assert [ordered.came(1, 1), ordered.came(2, 2)] == [Taken.KNOWN, Taken.WAITS]


def test_a_count_that_fits_by_chance_is_seen_by_the_rest() -> None:
    """Another had the broker begin anew and got 1 and 2: our 3 is not what we wait for."""
    ordered = _Ordered()
    ordered.came(1, 1, rest=9)
    ordered.came(2, 2, rest=8)
    assert ordered.came(5, 3, rest=5) is Taken.DROPPED


def test_what_was_settled_is_to_be_acknowledged_again() -> None:
    """The broker did not hear of it."""
    ordered = _Ordered()
    ordered.came(1, 1)
    (delivery,) = ordered.intake.take(1, 0.0)
    ordered.intake.settled(delivery)
    assert ordered.came(1, 2) is Taken.SETTLED


def test_what_is_held_learns_where_to_settle_it() -> None:
    """A redelivery has another subject to reply to, and another time."""
    ordered = _Ordered()
    ordered.came(1, 1)
    (held,) = ordered.intake.take(1, 0.0)
    again = _delivery(1, until=99.0)
    again.reply = b"$JS.ACK.S.c.2.1"
    assert ordered.intake.came(again, 2, 100) is Taken.KNOWN
    assert (held.reply, held.until) == (b"$JS.ACK.S.c.2.1", 99.0)
    assert ordered.handed_out() == []


@pytest.mark.parametrize("settled", [False, True])
def test_another_message_in_the_place_of_one_handed_out_is_new(settled: bool) -> None:
    """A crash took the end of the stream: its sequences are given again, and what was held of them is void."""
    ordered = _Ordered()
    for sequence in (1, 2, 3):
        ordered.came(sequence, sequence)
    first, second, third = ordered.intake.take(3, 0.0)
    if settled:
        ordered.intake.settled(second)
        ordered.intake.settled(third)
    assert ordered.came(2, 1, time=50) is Taken.WAITS
    assert [ordered.came(3, 2, time=51), ordered.came(4, 3, time=52)] == [Taken.WAITS] * 2
    assert ordered.handed_out() == [2, 3, 4]
    assert (first.reply is None, third.reply is None) == (False, not settled)


def test_a_consumer_made_anew_begins_with_what_is_held() -> None:
    """Or after the last that was handed out."""
    order = Order()
    order.settled_to(7)
    assert (order.next_start, order.lost) == (8, True)
    order.held[5] = _delivery(5)
    assert order.next_start == 5


def test_a_beginning_with_a_count_goes_on_from_there() -> None:
    """Nothing was unsettled: the next of the count is in order."""
    order = Order()
    order.settled_to(7, 12)
    assert order.judge(9, 13, 9, 0) is Verdict.NEW


def test_what_is_held_takes_room_until_it_is_settled() -> None:
    """However long it is held."""
    ordered = _Ordered(max_in_flight=2)
    ordered.came(1, 1)
    ordered.came(2, 2)
    assert ordered.intake.room(1e9) == 0
    ordered.intake.settled(ordered.intake.take(1, 0.0)[0])
    assert ordered.intake.room(1e9) == 1


def test_what_is_another_s_by_now_takes_no_room_and_is_not_handed_out() -> None:
    """A shared consumer's delivery goes to others after ``ack_wait``."""
    intake = Intake(max_in_flight=2, max_bytes=100, order=None)
    intake.came(_delivery(1, until=5.0), 1, 0)
    intake.came(_delivery(2, until=9.0), 2, 0)
    assert (intake.room(4.0), intake.frees) == (0, 5.0)
    assert intake.room(5.0) == 1
    assert [each.sequence for each in intake.take(10, 5.0)] == [2]


def test_bytes_are_counted_until_they_are_settled() -> None:
    """Also when the same message comes again."""
    intake = Intake(max_in_flight=10, max_bytes=100, order=None)
    for _ in range(3):
        intake.came(_delivery(1, size=60), 1, 0)
    assert intake.bytes_left == 40
    last = intake.take(10, 0.0)[-1]
    intake.settled(last)
    assert intake.bytes_left == 100
    intake.came(_delivery(2, size=100), 1, 0)
    assert intake.room(0.0) == 0
    intake.void()
    assert (intake.room(0.0), intake.bytes_left) == (10, 100)
