"""Who may go on of the calls under way, who waits, and who is refused: a limit with a bounded queue in front of it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum

from carrick.options import Priority
from carrick.policy.gradient import GradientLimit

__all__ = ["ConcurrencyState", "Outcome", "Refusal", "Waiter"]

_CRITICAL, _DEFAULT = Priority.CRITICAL, Priority.DEFAULT  # looking them up in the Enum costs more than the comparison
_LEARNING = 0.1


class Refusal(Enum):
    """Why a call gets no place, in the words of ``CallShed``."""

    LIMIT = "limit"
    """All places are taken, and there is no queue."""
    QUEUE = "queue"
    """All places are taken, and so are those in the queue."""
    TIME = "queue_time"
    """Its turn would come too late, or did not come in time."""


class Outcome(Enum):
    """What a call's end says of how much the service bears."""

    ANSWERED = "answered"
    DROPPED = "dropped"
    """It timed out, or was refused as too much."""
    SILENT = "silent"
    """Nothing: it was cancelled, or failed for reasons of its own, or its time is not the service's."""


_ANSWERED, _SILENT = Outcome.ANSWERED, Outcome.SILENT


class Waiter:
    """A call in the queue: it gets a place, or is refused, or leaves."""

    __slots__ = ("admitted", "displaced", "expires", "rank", "refusal", "woken")

    def __init__(self, rank: int, expires: float | None) -> None:
        self.rank = rank
        self.expires = expires
        """When it leaves without a place."""
        self.admitted = False
        self.refusal: Refusal | None = None
        self.displaced: Waiter | None = None
        """The less important call that was refused to make room in the queue for this one."""
        self.woken: Callable[[], None] | None = None
        """How :meth:`wake` tells who waits; set by who waits."""

    def wake(self) -> None:
        """Tell who waits that it has been decided."""
        if self.woken is not None:
            self.woken()


class ConcurrencyState:
    """Who gets a place, who waits for one, and who is refused. Pure: time comes in with each call. For one event loop.

    Calls that wait get places in the order of their priority, then of their coming. ``shares`` are what critical,
    default and sheddable calls may use of the limit, in per cent, one place at least. A call is refused at once when
    its turn would come too late: its position in the queue times how long places are held on average (exponentially
    weighted), over the limit. Where the queue is full, the last of the least important waiters makes room for a more
    important call.

    A place is handed back with one :meth:`released`, or, by a waiter who was cancelled when it had just been given one,
    with one :meth:`left`. Both return the waiters that were decided on: wake them.
    """

    __slots__ = (
        "_adaptive",
        "_held",
        "_max_queue_time",
        "_max_queued",
        "_queues",
        "_shares",
        "_waiting",
        "caps",
        "in_flight",
        "limit",
    )

    def __init__(
        self,
        limit: int,
        *,
        max_queued: int = 0,
        max_queue_time: float | None = None,
        shares: tuple[int, int, int] = (100, 100, 100),
        adaptive: GradientLimit | None = None,
    ) -> None:
        self._max_queued = max_queued
        self._max_queue_time = max_queue_time
        self._shares = shares
        self._adaptive = adaptive
        self._queues: tuple[OrderedDict[Waiter, None], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        self._waiting = 0
        self._held: float | None = None
        self.in_flight = 0
        """Places taken."""
        self.limit = limit
        """Places there are."""
        self.caps = (limit, limit, limit)
        """The places that critical, default and sheddable calls may use."""
        self._set(limit)

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return self._waiting

    @property
    def held(self) -> float:
        """Seconds that a place is held, on average; 0 before the first was handed back."""
        return self._held or 0.0

    def acquire(self, now: float, deadline: float | None, priority: Priority | None) -> Waiter | Refusal | None:
        """Return None for a place, a Waiter for one in the queue, or why there is neither."""
        rank = 1 if priority is None or priority is _DEFAULT else 0 if priority is _CRITICAL else 2
        if self.in_flight < self.caps[rank]:  # then nobody waits who could have this place: it would have got it
            self.in_flight += 1
            return None
        if self._adaptive is not None:
            self._adaptive.refused()
        return self._queue(now, deadline, rank) if self._max_queued else Refusal.LIMIT

    def released(self, now: float, began: float, outcome: Outcome) -> Sequence[Waiter]:
        """Take back a place that was held since ``began``; return the waiters who now have one, or are too late."""
        held = now - began
        self._held = held if self._held is None else self._held + (held - self._held) * _LEARNING
        adaptive = self._adaptive
        if adaptive is not None and outcome is not _SILENT:
            count = adaptive.answered if outcome is _ANSWERED else adaptive.dropped
            if count(now, began, self.in_flight):
                self._set(adaptive.limit)
        self.in_flight -= 1
        return self._hand_out(now) if self._waiting else ()

    def left(self, waiter: Waiter, now: float) -> Sequence[Waiter]:
        """Take a waiter out of the queue whose time is over, or who was cancelled; return as :meth:`released` does.

        One that was given a place meanwhile, and will not use it, hands that back.
        """
        if waiter.admitted:
            waiter.admitted = False
            self.in_flight -= 1
            return self._hand_out(now) if self._waiting else ()
        queue = self._queues[waiter.rank]
        if waiter in queue:
            del queue[waiter]
            self._waiting -= 1
        return ()

    def _queue(self, now: float, deadline: float | None, rank: int) -> Waiter | Refusal:
        expires = deadline
        if self._max_queue_time is not None:
            patience = now + self._max_queue_time
            expires = patience if deadline is None or patience < deadline else deadline
        if expires is not None and now + self._turn(rank) >= expires:
            return Refusal.TIME
        waiter = Waiter(rank, expires)
        if self._waiting >= self._max_queued:
            waiter.displaced = self._displace(rank)
            if waiter.displaced is None:
                return Refusal.QUEUE
        self._queues[rank][waiter] = None
        self._waiting += 1
        return waiter

    def _turn(self, rank: int) -> float:
        """Return after how many seconds the next of that rank gets its turn, if all goes on as it did."""
        position = 1 + sum(len(queue) for queue in self._queues[: rank + 1])
        return position * self.held / self.caps[rank]

    def _displace(self, rank: int) -> Waiter | None:
        """Refuse the last of the least important waiters who are less important than ``rank``."""
        for queue in reversed(self._queues[rank + 1 :]):
            if queue:
                waiter, _ = queue.popitem()
                self._waiting -= 1
                waiter.refusal = Refusal.QUEUE
                return waiter
        return None

    def _hand_out(self, now: float) -> list[Waiter]:
        """Give free places to who waits: the most important first, then who came first. Not to those who are late."""
        decided = []
        for queue, cap in zip(self._queues, self.caps, strict=True):
            while queue and self.in_flight < cap:
                waiter, _ = queue.popitem(last=False)
                self._waiting -= 1
                if waiter.expires is not None and waiter.expires <= now:
                    waiter.refusal = Refusal.TIME
                else:
                    waiter.admitted = True
                    self.in_flight += 1
                decided.append(waiter)
        return decided

    def _set(self, limit: int) -> None:
        self.limit = limit
        critical, default, sheddable = (max(1, limit * share // 100) for share in self._shares)
        self.caps = (critical, default, sheddable)
