"""A server in virtual time behind an adaptive limit: so many workers, a queue, and calls that come at a rate."""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from carrick.policy.gradient import GradientLimit


@dataclass
class Simulation:
    """Calls come at random (Poisson); those above the limit are refused; the others queue for one of the workers.

    ``latency`` is the mean time of a call in a worker. It is constant, or exponentially distributed where ``spread``.
    A call that would take longer than ``timeout`` in all is dropped after it, its work done all the same. One that
    comes while ``rejects_above`` are under way is refused by the server after a millisecond.
    """

    limit: GradientLimit
    workers: int
    latency: float
    spread: bool = False
    timeout: float = 1e9
    rejects_above: int = 1_000_000_000
    seed: int = 1
    now: float = 0.0
    in_flight: int = 0
    answers: int = 0
    refused: int = 0
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._busy = 0
        self._waiting: deque[float] = deque()
        self._events: list[tuple[float, int, str, float]] = []
        self._order = 0
        self._rate = 0.0

    @property
    def capacity(self) -> float:
        """Calls a second that the workers manage."""
        return self.workers / self.latency

    def run(self, load: float, seconds: float) -> float:
        """Offer ``load`` times the capacity; return the share of the capacity that became answers."""
        end = self.now + seconds
        self._rate = load * self.capacity
        before = self.answers
        self._at(self.now + self._random.expovariate(self._rate), "comes", end)
        while self._events and self._events[0][0] <= end:
            self.now, _, what, number = heapq.heappop(self._events)
            getattr(self, f"_{what}")(number)
            self.limits.append(self.limit.limit)
        self.now = end
        return (self.answers - before) / seconds / self.capacity

    def mean_limit(self) -> float:
        """Return the mean of the limit over the events since ``limits`` was cleared."""
        return sum(self.limits) / len(self.limits)

    def _at(self, when: float, what: str, number: float) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, number))

    def _comes(self, end: float) -> None:
        following = self.now + self._random.expovariate(self._rate)
        if following <= end:
            self._at(following, "comes", end)
        if self.in_flight >= self.limit.limit:
            self.refused += 1
            self.limit.refused()
            return
        self.in_flight += 1
        if self.in_flight > self.rejects_above:
            self._at(self.now + 0.001, "dropped", self.now)
            return
        if self._busy < self.workers:
            self._work(self.now)
        else:
            self._waiting.append(self.now)

    def _work(self, began: float) -> None:
        self._busy += 1
        took = self._random.expovariate(1 / self.latency) if self.spread else self.latency
        if self.now + took - began <= self.timeout:
            self._at(self.now + took, "answered", began)
        else:
            self._at(max(self.now, began + self.timeout), "dropped", began)
        self._at(self.now + took, "idle", began)

    def _answered(self, began: float) -> None:
        self.limit.answered(self.now, began, self.in_flight)
        self.in_flight -= 1
        self.answers += 1

    def _idle(self, began: float) -> None:
        self._busy -= 1
        if self._waiting:
            self._work(self._waiting.popleft())

    def _dropped(self, began: float) -> None:
        self.limit.dropped(self.now, began, self.in_flight)
        self.in_flight -= 1
