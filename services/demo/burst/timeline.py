"""What was seen over time, and whether the burst stayed where it belongs. Nothing is done here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Check", "Phases", "Timeline", "checks", "percentile"]

_TOLERANCE = 0.15
_SLOWER = 2.0
_SLACK_MS = 5.0


@dataclass(frozen=True, slots=True)
class Phases:
    """When the burst began and ended, in seconds from the start."""

    burst: float
    calm: float


@dataclass(slots=True)
class Timeline:
    """What was seen, by seconds from the start."""

    written: list[tuple[float, int]] = field(default_factory=list)
    """How many events were committed by the senders until then."""
    handled: list[tuple[float, int]] = field(default_factory=list)
    """How many of them had been handled."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When each order was to be placed, and the milliseconds from then until its commit had returned."""

    @property
    def depth(self) -> list[tuple[float, int]]:
        """How many events were waiting, at each look."""
        return [(at, max(w - h, 0)) for (at, w), (_, h) in zip(self.written, self.handled, strict=True)]

    @property
    def rate(self) -> list[tuple[float, float]]:
        """How many were handled a second, between two looks."""
        pairs = zip(self.handled, self.handled[1:], strict=False)
        return [(at, (count - before) / (at - since)) for (since, before), (at, count) in pairs]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that had to be so, and how it was."""

    what: str
    found: str
    ok: bool


def checks(timeline: Timeline, phases: Phases, capacity: float, effects: Mapping[Any, int]) -> list[Check]:
    """Judge a run; ``effects`` says how often each order had its effect."""
    before = percentile([ms for at, ms in timeline.latencies if at < phases.burst], 99)
    during = percentile([ms for at, ms in timeline.latencies if phases.burst <= at < phases.calm], 99)
    highest = max(depth for _, depth in timeline.depth)
    last = timeline.depth[-1][1]
    rate = _rate_while_waiting(timeline, phases, waiting=2 * capacity / 10)
    orders = len(timeline.latencies)
    once = sum(count == 1 for count in effects.values())
    allowed = _SLOWER * before + _SLACK_MS
    return [
        Check("depth rose", f"to {highest}", highest > capacity),
        Check("depth fell to 0", f"to {last}", last == 0),
        Check(
            f"handled at capacity ({capacity:.0f} a second ± {_TOLERANCE:.0%}) while events waited",
            f"{rate:.1f} a second",
            abs(rate - capacity) <= _TOLERANCE * capacity,
        ),
        Check(
            f"senders' p99 in the burst at most {allowed:.1f} ms (twice {before:.1f} ms, and {_SLACK_MS:.0f} ms)",
            f"{during:.1f} ms",
            during <= allowed,
        ),
        Check("every event handled once", f"{once} of {orders}", once == orders == sum(effects.values())),
    ]


def percentile(values: Sequence[float], share: int) -> float:
    """Return what so many percent of the values do not exceed; 0 of none."""
    return sorted(values)[min(len(values) * share // 100, len(values) - 1)] if values else 0.0


def _rate_while_waiting(timeline: Timeline, phases: Phases, waiting: float) -> float:
    """Return the rate from the burst on for as long as there was enough to do."""
    busy = [
        (at, handled)
        for (at, depth), (_, handled) in zip(timeline.depth, timeline.handled, strict=True)
        if at > phases.burst and depth > waiting
    ]
    if len(busy) < 2:
        return 0.0
    (since, first), (until, last) = busy[0], busy[-1]
    return (last - first) / (until - since)
