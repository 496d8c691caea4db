"""Circuit breaker: after too many failures, refuse calls for a while instead of making them.

After Nygard, "Release It!". pybreaker holds the state and tells its listeners; what changes it is decided here, because
pybreaker's own ``call`` admits everybody when half-open, counts a cancellation as a failure and reads the wall clock.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker, CircuitMemoryStorage

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, RejectedError
from carrick.observe import BreakerClosed, BreakerHalfOpened, BreakerOpened, Observer
from carrick.options import BreakerOptions
from carrick.service import Filter, Service
from carrick.stream import Concluding

__all__ = ["FAILURES", "BreakerState", "Permit", "breaker"]

FAILURES = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
"""Statuses that speak against the endpoint. Any other is an answer."""

_SLICES = 10


@dataclass(slots=True)
class _Slice:
    """The calls that ended in one tenth of the window."""

    number: int
    calls: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call; its result counts only while the state it was given in lasts."""

    generation: int
    trial: bool


class BreakerState:
    """When to refuse. Pure: time comes in with each call, nothing is waited for.

    Counts calls in ten slices of the window. Each change of state starts a new generation; results of calls begun in
    an earlier one are ignored. Used from one event loop.
    """

    def __init__(self, options: BreakerOptions, *, name: str = "") -> None:
        self._options = options
        self._slice_length = options.window / _SLICES
        self._slices: deque[_Slice] = deque(maxlen=_SLICES)
        self._generation = 0
        self._opened_at = 0.0
        self._trials_out = 0
        self._trials_passed = 0
        self.circuit = CircuitBreaker(state_storage=CircuitMemoryStorage(STATE_CLOSED), name=name)
        """pybreaker's breaker: read its state, add listeners to it."""

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``, in pybreaker's words."""
        return self.circuit.current_state

    @property
    def generation(self) -> int:
        """How often the state has changed."""
        return self._generation

    def admits(self, now: float) -> bool:
        """Say whether :meth:`acquire` would give a permit; changes nothing."""
        if self.state == STATE_CLOSED:
            return True
        if self.state == STATE_OPEN:
            return now - self._opened_at >= self._options.open_for
        return self._trials_out + self._trials_passed < self._options.trials

    def acquire(self, now: float) -> Permit | None:
        """Return a permit for one call, or None when it is refused. Hand every permit back, once."""
        if not self.admits(now):
            return None
        if self.state == STATE_CLOSED:
            return Permit(self._generation, trial=False)
        if self.state == STATE_OPEN:
            self._change()
            self.circuit.half_open()
        self._trials_out += 1
        return Permit(self._generation, trial=True)

    def succeeded(self, permit: Permit, now: float) -> None:
        """Count a call that was answered."""
        if permit.generation != self._generation:
            return
        if not permit.trial:
            self._slice(now).calls += 1
            return
        self._trials_out -= 1
        self._trials_passed += 1
        if self._trials_passed >= self._options.trials:
            self._change()
            self.circuit.close()

    def failed(self, permit: Permit, now: float) -> None:
        """Count a call that failed, and open when that was one too many."""
        if permit.generation != self._generation:
            return
        if not permit.trial:
            current = self._slice(now)
            current.calls += 1
            current.failures += 1
            calls, failures = self.counts(now)
            if calls < self._options.min_calls or failures < self._options.failure_ratio * calls:
                return
        self._change()
        self._opened_at = now
        self.circuit.open()

    def forgotten(self, permit: Permit) -> None:
        """Hand back the permit of a call that was cancelled: it says nothing about the endpoint."""
        if permit.trial and permit.generation == self._generation:
            self._trials_out -= 1

    def counts(self, now: float) -> tuple[int, int]:
        """Return calls and failures in the window."""
        oldest = int(now / self._slice_length) - _SLICES + 1
        recent = [each for each in self._slices if each.number >= oldest]
        return sum(each.calls for each in recent), sum(each.failures for each in recent)

    def _slice(self, now: float) -> _Slice:
        number = int(now / self._slice_length)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
        return self._slices[-1]

    def _change(self) -> None:
        self._generation += 1
        self._slices.clear()
        self._trials_out = 0
        self._trials_passed = 0


def breaker(state: BreakerState, *, endpoint: str, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that asks ``state`` before each call and tells it the result.

    A refused call raises ``RejectedError`` (``UNAVAILABLE``) and is never sent. A call that was cancelled, or was never
    sent, counts for nothing. A stream of responses has succeeded with its first message, so that a trial need not wait
    for the end of a long one; when it breaks off later, that is counted as another call, a failed one.
    """
    monotonic = clock.monotonic

    async def guarded(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        before = state.generation
        permit = state.acquire(monotonic())
        if permit is None:
            raise RejectedError(
                Code.UNAVAILABLE,
                f"{ctx.method.full_name}: the circuit to {endpoint} is open",
                attempt=ctx.attempt,
            )
        if state.generation != before:
            observe(BreakerHalfOpened(method=ctx.method.full_name, endpoint=endpoint))
        try:
            reply = await service(request, ctx)
        except CarrickError as error:
            if error.attempt is not None and not error.attempt.sent:
                state.forgotten(permit)  # it never reached the endpoint
            elif error.code in FAILURES:
                _record_failure(ctx.method.full_name, permit)
            else:
                _record_success(ctx.method.full_name, permit)
            raise
        except BaseException:
            state.forgotten(permit)
            raise
        _record_success(ctx.method.full_name, permit)
        return _watched(reply, ctx.method.full_name) if ctx.method.streams_responses else reply

    def _watched(stream: Any, method: str) -> Any:
        """Count a stream that breaks off as one more call that failed: its first message was a success already."""
        permit = Permit(state.generation, trial=False)

        def conclude(error: BaseException | None) -> None:
            if isinstance(error, CarrickError) and error.code in FAILURES:
                _record_failure(method, permit)

        return Concluding(stream, conclude)

    def _record_success(method: str, permit: Permit) -> None:
        before = state.generation
        state.succeeded(permit, monotonic())
        if state.generation != before:
            observe(BreakerClosed(method=method, endpoint=endpoint))

    def _record_failure(method: str, permit: Permit) -> None:
        before = state.generation
        now = monotonic()
        calls, failures = state.counts(now)
        state.failed(permit, now)
        if state.generation != before:
            observe(BreakerOpened(method=method, endpoint=endpoint, calls=calls + 1, failures=failures + 1))

    return guarded
