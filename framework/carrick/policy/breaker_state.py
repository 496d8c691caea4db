"""When a circuit breaker refuses: the share of calls that failed or were slow, trials, and orders given by hand."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitMemoryStorage

from carrick.options import BreakerOptions
from carrick.policy.window import LastCounts, SlidingCounts

__all__ = ["BreakerState", "Counts", "OpenReason", "Opening", "Permit"]

_CALLS, _FAILURES, _SLOW = range(3)
_KINDS = {  # by failed, slow
    (False, False): (_CALLS,),
    (False, True): (_CALLS, _SLOW),
    (True, False): (_CALLS, _FAILURES),
    (True, True): (_CALLS, _FAILURES, _SLOW),
}


class OpenReason(Enum):
    """Why a circuit is not closed."""

    FAILURES = "failures"
    """Too large a share of the calls failed."""
    SLOW = "slow"
    """Too large a share of the calls was slow."""
    TRIAL = "trial"
    """A trial call failed or was slow."""
    MANUAL = "manual"
    """It was opened by hand; trials follow."""
    ISOLATED = "isolated"
    """It is held open until it is closed by hand."""


class Counts(NamedTuple):
    """Calls that ended in the window, those of them that failed, and those that were slow. One may be both."""

    calls: int
    failures: int
    slow: int


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a circuit opened, and what was counted then; nothing was where it was done by hand."""

    reason: OpenReason
    counts: Counts


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call; its result counts only while the state it was given in lasts."""

    generation: int
    trial: bool


class BreakerState:
    """When to refuse. Pure: time comes in with each call, nothing is waited for.

    pybreaker's breaker holds the state, :attr:`circuit`; it is changed by the methods here only. Each change begins a
    new generation, with nothing counted; results of calls begun in an earlier one are ignored. ``name`` is the method
    that it guards. Used from one event loop.
    """

    __slots__ = (
        "_closed",
        "_options",
        "_permit",
        "_slow_after",
        "_trials_left",
        "_trials_passed",
        "_until",
        "_window",
        "circuit",
        "opening",
    )

    def __init__(self, options: BreakerOptions, *, name: str = "") -> None:
        self._options = options
        self._slow_after = math.inf if options.slow_after is None else options.slow_after
        self._window: SlidingCounts | LastCounts = (
            SlidingCounts(options.window, len(Counts._fields))
            if options.window_calls is None
            else LastCounts(options.window_calls, len(Counts._fields))
        )
        self._closed = True  # what pybreaker was told, nearer at hand
        self._permit = Permit(0, trial=False)  # all of a generation are alike
        self._until = 0.0  # when an open one lets trials through, and a half-open one more of them
        self._trials_left = 0
        self._trials_passed = 0
        self.circuit = CircuitBreaker(state_storage=CircuitMemoryStorage(STATE_CLOSED), name=name)
        """pybreaker's breaker: read its state, add listeners to it."""
        self.opening: Opening | None = None
        """Why it last opened; None while it is closed."""

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``, in pybreaker's words."""
        return self.circuit.current_state

    @property
    def reason(self) -> OpenReason | None:
        """Why it is open or half-open; None while it is closed."""
        return None if self.opening is None else self.opening.reason

    @property
    def generation(self) -> int:
        """How often the state has changed."""
        return self._permit.generation

    @property
    def current(self) -> Permit:
        """What the calls of this generation hold: for what a call meets after it was counted. Not to be handed back."""
        return self._permit

    def admits(self, now: float) -> bool:
        """Say whether :meth:`acquire` would give a permit; changes nothing."""
        return self._closed or self._trials_left > 0 or now >= self._until

    def acquire(self, now: float) -> Permit | None:
        """Return a permit for one call, or None when it is refused. Hand every permit back, once.

        A half-open breaker whose trials do not end gives as many more after each ``open_for`` seconds.
        """
        if self._closed:
            return self._permit
        if self._trials_left == 0:
            if now < self._until:
                return None
            first = not self._permit.trial
            if first:
                self._begin(trial=True)
            self._trials_left = self._options.trials
            self._until = now + self._options.open_for
            if first:
                self.circuit.half_open()
        self._trials_left -= 1
        return self._permit

    def succeeded(self, permit: Permit, now: float, took: float = 0.0) -> None:
        """Count a call that was answered after ``took`` seconds."""
        if permit is self._permit and not permit.trial and took <= self._slow_after:
            self._window.add(now, _CALLS)
        else:
            self._ended(permit, now, failed=False, slow=took > self._slow_after)

    def failed(self, permit: Permit, now: float, took: float = 0.0) -> None:
        """Count a call that failed after ``took`` seconds."""
        self._ended(permit, now, failed=True, slow=took > self._slow_after)

    def given_up(self, permit: Permit, now: float, took: float) -> None:
        """Count a call that was cancelled after ``took`` seconds: a slow one if that was too long, else none."""
        if took > self._slow_after:
            self._ended(permit, now, failed=False, slow=True)
        else:
            self.forgotten(permit)

    def forgotten(self, permit: Permit) -> None:
        """Hand back the permit of a call that says nothing about the endpoint."""
        if permit.trial and permit is self._permit:
            self._trials_left = min(self._trials_left + 1, self._options.trials)

    def counts(self, now: float) -> Counts:
        """Return what is counted in the window."""
        return Counts(*self._window.totals(now))

    def open(self, now: float) -> None:
        """Refuse calls from now on, and let trials through after ``open_for`` seconds. Leaves an isolated one so."""
        if self.reason is not OpenReason.ISOLATED:
            self._open(OpenReason.MANUAL, Counts(0, 0, 0), now + self._options.open_for)

    def isolate(self) -> None:
        """Refuse calls until :meth:`close`."""
        self._open(OpenReason.ISOLATED, Counts(0, 0, 0), math.inf)

    def close(self) -> None:
        """Let calls through, with nothing remembered."""
        self._begin(closed=True)
        self.opening = None
        self.circuit.close()

    def _ended(self, permit: Permit, now: float, *, failed: bool, slow: bool) -> None:
        if permit is not self._permit or not (self._closed or permit.trial):
            return
        self._window.add_each(now, _KINDS[failed, slow])
        if failed or slow:
            counts = self.counts(now)
            reason = OpenReason.TRIAL if permit.trial else self._too_bad(counts)
            if reason is not None:
                self._open(reason, counts, now + self._options.open_for)
        elif permit.trial:
            self._trials_passed += 1
            if self._trials_passed >= self._options.trials:
                self.close()

    def _too_bad(self, counts: Counts) -> OpenReason | None:
        options = self._options
        if counts.calls < options.min_calls:
            return None
        if counts.failures >= options.failure_ratio * counts.calls:
            return OpenReason.FAILURES
        if counts.slow and counts.slow >= options.slow_ratio * counts.calls:
            return OpenReason.SLOW
        return None

    def _open(self, reason: OpenReason, counts: Counts, until: float) -> None:
        self._begin()
        self._until = until
        self.opening = Opening(reason, counts)
        self.circuit.open()

    def _begin(self, *, closed: bool = False, trial: bool = False) -> None:
        """Begin a generation."""
        self._closed = closed
        self._permit = Permit(self._permit.generation + 1, trial)
        self._window.clear()
        self._trials_left = 0
        self._trials_passed = 0
