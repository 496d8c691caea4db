"""What has come for a consumer: what waits to be handed out, and what is not settled. No I/O."""

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto

from carrick.messaging.nats.delivery import NatsDelivery
from carrick.messaging.nats.ordering import Order, Verdict

__all__ = ["Intake", "Taken"]


class Taken(Enum):
    """What became of a delivery."""

    WAITS = auto()
    """It waits to be handed out."""
    KNOWN = auto()
    """It was handed out, or waits already."""
    SETTLED = auto()
    """It was settled, and the broker has to hear it again."""
    DROPPED = auto()
    """Something before it is missing."""


class Intake:
    """Counts messages and bytes, so that no more are asked for than there is room for.

    A shared consumer's message is another's when its ``ack_wait`` has passed, and is not counted any more. An ordered
    consumer holds what it was given until it is settled.
    """

    def __init__(self, *, max_in_flight: int, max_bytes: int, order: Order | None) -> None:
        self.order = order
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self._out: dict[int, NatsDelivery] = {} if order is None else order.held
        self._bytes = 0
        self._waiting: deque[NatsDelivery] = deque()
        self._handed_back: set[int] = set()

    def take(self, most: int, now: float) -> list[NatsDelivery]:
        """Return what is to be handed out."""
        found: list[NatsDelivery] = []
        while self._waiting and len(found) < most:
            delivery = self._waiting.popleft()
            if self.order is None and delivery.until <= now:
                self.settled(delivery)
            else:
                found.append(delivery)
        return found

    def take_all(self) -> list[NatsDelivery]:
        """Return all that waits."""
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def came(self, delivery: NatsDelivery, count: int, rest: int) -> Taken:
        """Take a delivery in, with the broker's count of it, and of what comes after it."""
        order = self.order
        if order is None:
            self._keep(delivery)
            return Taken.WAITS
        verdict = order.judge(delivery.sequence, count, delivery.time, rest)
        if verdict is Verdict.HELD:
            return self._came_again(order, delivery)
        if verdict is Verdict.REWOUND:
            self.void(order.forget_after(delivery.sequence - 1))
        if verdict in (Verdict.NEW, Verdict.REWOUND):
            self._keep(delivery)
            order.moved_to(delivery)
            return Taken.WAITS
        return Taken.SETTLED if verdict is Verdict.SETTLED else Taken.DROPPED

    def settled(self, delivery: NatsDelivery) -> None:
        """Count it no more."""
        if self._out.get(delivery.sequence) is delivery:
            del self._out[delivery.sequence]
            self._bytes -= len(delivery.data)
            self._handed_back.discard(delivery.sequence)

    def handed_back(self, delivery: NatsDelivery) -> None:
        """Count it no more; an ordered one is handed out anew when it comes again."""
        if self.order is None:
            self.settled(delivery)
        elif self._out.get(delivery.sequence) is delivery:
            self._handed_back.add(delivery.sequence)

    def void(self, gone: Iterable[NatsDelivery] | None = None) -> None:
        """Forget what its stream has no more, or everything: other messages may be in its place."""
        voided = list(self._out.values()) if gone is None else list(gone)
        for delivery in voided:
            delivery.reply = None
            self._bytes -= len(delivery.data)
            self._handed_back.discard(delivery.sequence)
            self._out.pop(delivery.sequence, None)
        self._waiting = deque(each for each in self._waiting if each.reply is not None)

    def room(self, now: float) -> int:
        """Return how many more may come."""
        if self.order is None and (len(self._out) >= self._max_in_flight or self._bytes >= self._max_bytes):
            for delivery in [each for each in self._out.values() if each.until <= now]:
                self.settled(delivery)
        return self._max_in_flight - len(self._out) if self.bytes_left > 0 else 0

    @property
    def bytes_left(self) -> int:
        """Bytes that may come; one message may be larger."""
        return self._max_bytes - self._bytes

    @property
    def frees(self) -> float:
        """When a message is another's next, and makes room, by the loop's clock."""
        return min((each.until for each in self._out.values()), default=0.0) if self.order is None else float("inf")

    def _came_again(self, order: Order, delivery: NatsDelivery) -> Taken:
        held = order.held[delivery.sequence]
        if delivery.sequence in self._handed_back:
            self.settled(held)
            self._keep(delivery)
            return Taken.WAITS
        held.reply, held.until = delivery.reply, delivery.until
        return Taken.KNOWN

    def _keep(self, delivery: NatsDelivery) -> None:
        before = self._out.get(delivery.sequence)
        if before is not None:
            self._bytes -= len(before.data)
        self._out[delivery.sequence] = delivery
        self._bytes += len(delivery.data)
        self._waiting.append(delivery)
