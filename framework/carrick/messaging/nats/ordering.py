"""What an ordered consumer makes of each delivery of the broker: pure, no I/O.

The broker counts what it delivers to all of a name: first deliveries go in the stream's order, so that who sees a count
without gaps has seen everything in its order. After a reset the broker begins anew after its ack floor, with 1. So:

**Invariant.** A message is never handed out before an earlier unsettled one was handed out to the same object: handed
out is only what has count 1, which follows the ack floor, or the count after that of the delivery before, while nobody
began to count anew; and only what lies after everything handed out so far.

Whatever breaks the count (lost on the way, pulled by another under the name) is dropped, with all that follows, until
the broker has begun anew. That somebody else made it do so is told by a notice, which comes before what is delivered
thereafter, and can be seen where the rest of the stream shrinks by more than one.
"""

from enum import Enum, auto

from carrick.messaging.nats.delivery import NatsDelivery

__all__ = ["Order", "Verdict"]


class Verdict(Enum):
    """What to do with a delivery."""

    NEW = auto()
    """Hand it out."""
    HELD = auto()
    """It was handed out, or waits for it, and is not settled."""
    SETTLED = auto()
    """It was settled: the broker did not hear of it."""
    LOST = auto()
    """Something before it is missing."""
    REWOUND = auto()
    """The stream has forgotten what was handed out, and this is another message in its place."""


class Order:
    """The state of one ordered consumer."""

    def __init__(self) -> None:
        self.high = 0
        """The highest sequence handed out, or known to be settled."""
        self.held: dict[int, NatsDelivery] = {}
        self._high_time = 0
        self._expected = 0  # 0: only 1 will do
        self._rest = 0
        self.begun = False
        """Whether it was ever known where the consumer is."""

    @property
    def lost(self) -> bool:
        """Whether nothing is handed out until the broker begins to count anew."""
        return self._expected == 0

    @property
    def next_start(self) -> int:
        """Sequence that a consumer made anew must begin with."""
        return min(self.held, default=self.high + 1)

    def lose(self) -> None:
        """Hand out nothing until the broker begins to count anew."""
        self._expected = 0

    def settled_to(self, sequence: int, count: int | None = None) -> None:
        """Begin: everything up to a sequence is settled, and nothing after it was delivered, ``count`` in all."""
        self.high = max(self.high, sequence)
        self._expected = 0 if count is None else count + 1
        self._rest = 0
        self.begun = True

    def forget_after(self, sequence: int) -> list[NatsDelivery]:
        """Forget what was handed out after a sequence, which the stream has no more; return what is held of it."""
        self.high = min(self.high, sequence)
        self._high_time = 0
        return [delivery for each, delivery in self.held.items() if each > sequence]

    def moved_to(self, delivery: NatsDelivery) -> None:
        """Note that everything up to a delivery was handed out."""
        self.high, self._high_time = delivery.sequence, delivery.time

    def judge(self, sequence: int, count: int, time: int, rest: int) -> Verdict:
        """Say what a delivery is: its stream sequence, the broker's count, when it was stored, what comes after it."""
        if count != 1 and (count != self._expected or rest < self._rest - 1):
            self._expected = 0
            return Verdict.LOST
        self._expected, self._rest = count + 1, rest
        if sequence > self.high:
            return Verdict.NEW
        held = self.held.get(sequence)
        if held is not None and held.time == time:
            return Verdict.HELD
        if held is not None or 0 < self._high_time < time:
            return Verdict.REWOUND
        return Verdict.SETTLED
