"""An adaptive limit: how many calls a service bears at once, found out by how its latency answers to the limit.

After Netflix's concurrency-limits (Gradient2Limit): each window ``limit = limit * baseline / latency + sqrt(limit)``.
While nothing queues, latency is at its baseline and the limit grows; once calls queue, Little's law has the formula
settle at what the service handles at once plus the square root of that. What it does otherwise, and why:

- *Under constant timeouts Netflix's limit grows to its maximum* (their issue 137): timeouts are alike, so their
  gradient is 1. Here a timeout or a refusal is no latency: it is a drop, and each window's share of drops takes the
  limit down, by half where all were dropped (additive increase, multiplicative decrease, as in TCP).
- *Under modest overload it creeps up* (their issue 134): their baseline is a long average, which learns the queueing
  that the limit itself allows, and each time the limit grows by the square root more. failsafe-go looks whether latency
  correlates with concurrency while throughput does not. Here that is an experiment, like BBR's "probe RTT" for TCP: now
  and then, and soon when latency is far from its baseline, a window is run at 70 % of the limit. If latency falls with
  the calls under way, it was queueing, and the baseline does not rise; if it stays, it is the service's own, and the
  baseline becomes what it is. Where a probe finds much less than the baseline, the queue is deep, and the limit stays
  down for another.
"""

from math import sqrt

__all__ = ["GradientLimit"]

_MIN_CALLS = 100
_MIN_SPAN = 0.25
_ROUNDS = 3
_PROBE_EVERY = 20
_PROBE = 0.7
_MUCH_LESS = 0.85
_FALLEN = 0.85
_TOLERATED_DROPS = 0.02
_LEAST_GRADIENT = 0.5
_SUSPICIOUS_GRADIENT = 0.6
_SUSPICIOUS_AFTER = 3
_LEARNING = 0.2


class GradientLimit:
    """A limit that follows what it is told of calls. Pure: time comes in with each call, nothing is waited for.

    It changes at the end of a window: 100 calls, a quarter of a second, and thrice the mean latency at least. Only
    calls begun in the window count, since those begun before felt another limit. It is not raised while less than half
    of it is in use.
    """

    __slots__ = (
        "_baseline",
        "_calls",
        "_drops",
        "_latency",
        "_limit",
        "_load",
        "_maximum",
        "_minimum",
        "_peak",
        "_pressed",
        "_pressed_before",
        "_probing_from",
        "_since",
        "_sum",
        "_under_way",
        "_windows",
    )

    def __init__(self, *, initial: int, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._limit = float(initial)
        self._baseline: float | None = None
        self._latency = 0.0  # seconds, and calls under way, on average in the last window at another limit
        self._under_way = 0.0
        self._probing_from: float | None = None
        self._pressed = False
        self._pressed_before = False
        self._windows = _PROBE_EVERY  # since the last probe
        self._since = 0.0
        self._calls = 0
        self._drops = 0
        self._sum = 0.0
        self._load = 0
        self._peak = 0

    @property
    def limit(self) -> int:
        """Calls that may be under way at once, from the minimum to the maximum."""
        return int(self._limit)

    @property
    def baseline(self) -> float | None:
        """Seconds that a call takes when nothing queues, as far as is known."""
        return self._baseline

    def refused(self) -> None:
        """Note that a call got no place at once: only a limit that is felt is probed."""
        self._pressed = True

    def answered(self, now: float, began: float, in_flight: int) -> bool:
        """Count a call that was answered; ``in_flight`` are the calls under way, itself included.

        Returns whether the limit may have changed.
        """
        if began < self._since:
            return False
        self._calls += 1
        self._sum += now - began
        self._load += in_flight
        if in_flight > self._peak:
            self._peak = in_flight
        return self._calls >= _MIN_CALLS and self._conclude(now)

    def dropped(self, now: float, began: float, in_flight: int) -> bool:
        """Count a call that timed out or was refused by the service. Returns as :meth:`answered`."""
        if began < self._since:
            return False
        self._drops += 1
        return self.answered(now, now, in_flight)

    def _conclude(self, now: float) -> bool:
        """End the window if it was long enough."""
        span = now - self._since
        answers = self._calls - self._drops
        if span < _MIN_SPAN or span * answers < _ROUNDS * self._sum:
            return False
        if self._drops > _TOLERATED_DROPS * self._calls:
            self._back_off(self._drops / self._calls)
        elif self._probing_from is not None:
            self._judge(self._probing_from, self._sum / answers, self._load / self._calls)
        elif self._peak * 2 < self._limit:
            self._idle(self._sum / answers)
        else:
            self._follow(self._sum / answers, self._load / self._calls)
        self._since, self._sum = now, 0.0
        self._calls = self._drops = self._load = self._peak = 0
        self._pressed_before, self._pressed = self._pressed, False
        return True

    def _back_off(self, share: float) -> None:
        """Take the limit down: the service does not bear it, whatever the latency of what it answered."""
        before = self._probing_from or self._limit
        self._probing_from = None
        self._set(before * (1 - share / 2))

    def _idle(self, latency: float) -> None:
        """Learn the baseline from calls that had the service to themselves, as far as the limit has a say."""
        known = self._baseline
        self._baseline = latency if known is None else known + (latency - known) * _LEARNING

    def _follow(self, latency: float, under_way: float) -> None:
        """Change the limit by the gradient, or begin a probe where it is time."""
        self._latency, self._under_way = latency, under_way
        self._windows += 1
        if self._baseline is None:
            self._baseline = latency
        gradient = 1.0 if latency <= self._baseline else max(_LEAST_GRADIENT, self._baseline / latency)
        self._set(self._limit * gradient + sqrt(self._limit))
        far = gradient < _SUSPICIOUS_GRADIENT and self._windows >= _SUSPICIOUS_AFTER
        if (far or self._windows > _PROBE_EVERY) and self._pressed_before:  # else the load was still on its way up
            self._probe(self._limit)

    def _probe(self, limit: float) -> None:
        self._probing_from = limit
        self._set(limit * _PROBE)

    def _judge(self, before: float, latency: float, under_way: float) -> None:
        """Learn from a window at a lower limit what is the service's latency and what was queueing."""
        known = self._baseline or latency
        if latency < known or self._is_the_services(before, latency, under_way):
            self._baseline = latency
        if latency < known * _MUCH_LESS:
            self._latency, self._under_way = latency, under_way
            if self._limit > self._minimum:
                self._probe(self._limit)  # stay down, and look further down
                return
            before = self._limit
        self._probing_from = None
        self._windows = 0
        self._set(before)

    def _is_the_services(self, before: float, latency: float, under_way: float) -> bool:
        """Say whether latency did not fall with the calls under way: by less than half as much as they did."""
        if int(before) <= self._minimum:
            return True  # it cannot be for a limit that does not go lower
        fallen = under_way / self._under_way
        return fallen <= _FALLEN and latency >= self._latency * (1 + fallen) / 2

    def _set(self, limit: float) -> None:
        self._limit = max(float(self._minimum), min(float(self._maximum), limit))
