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
        self._ordinary = Permit(0, trial=False)
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
        if self.state == STATE_CLOSED:
            return self._ordinary
        if not self.admits(now):
            return None
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
        self._ordinary = Permit(self._generation, trial=False)
        self._slices.clear()
        self._trials_out = 0
        self._trials_passed = 0


def breaker(state: BreakerState, *, endpoint: str, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that asks ``state`` before each call and tells it the result.

    A refused call raises ``RejectedError`` (``UNAVAILABLE``) and is never sent. A call that was cancelled, or was never
    sent, counts for nothing. A stream of responses has succeeded with its first message, so that a trial need not wait
    for the end of a long one; when it breaks off later, that is counted as another call, a failed one.
    """
    results = _Results(state, endpoint=endpoint, clock=clock, observe=observe)

    async def guarded(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        method = ctx.method.full_name
        permit = results.permit(method)
        if permit is None:
            raise RejectedError(Code.UNAVAILABLE, f"{method}: the circuit to {endpoint} is open", attempt=ctx.attempt)
        try:
            reply = await service(request, ctx)
        except CarrickError as error:
            if error.attempt is not None and not error.attempt.sent:
                state.forgotten(permit)  # it never reached the endpoint
            elif error.code in FAILURES:
                results.failure(method, permit)
            else:
                results.success(method, permit)
            raise
        except BaseException:
            state.forgotten(permit)
            raise
        results.success(method, permit)
        return results.of_stream(method, reply) if ctx.method.streams_responses else reply

    return guarded


class _Results:
    """Tells a state how calls ended, and the observer what that changed."""

    def __init__(self, state: BreakerState, *, endpoint: str, clock: Clock, observe: Observer) -> None:
        self._state = state
        self._endpoint = endpoint
        self._monotonic = clock.monotonic
        self._observe = observe

    def permit(self, method: str) -> Permit | None:
        """Ask for a permit."""
        before = self._state.generation
        permit = self._state.acquire(self._monotonic())
        if self._state.generation != before:
            self._observe(BreakerHalfOpened(method=method, endpoint=self._endpoint))
        return permit

    def success(self, method: str, permit: Permit) -> None:
        """Count a call that was answered."""
        before = self._state.generation
        self._state.succeeded(permit, self._monotonic())
        if self._state.generation != before:
            self._observe(BreakerClosed(method=method, endpoint=self._endpoint))

    def failure(self, method: str, permit: Permit) -> None:
        """Count a call that failed."""
        before = self._state.generation
        now = self._monotonic()
        calls, failures = self._state.counts(now)
        self._state.failed(permit, now)
        if self._state.generation != before:
            self._observe(BreakerOpened(method=method, endpoint=self._endpoint, calls=calls + 1, failures=failures + 1))

    def of_stream(self, method: str, stream: Any) -> Any:
        """Count a stream that breaks off as one more call that failed: its first message was a success already."""
        permit = Permit(self._state.generation, trial=False)

        def conclude(error: BaseException | None) -> None:
            if isinstance(error, CarrickError) and error.code in FAILURES:
                self.failure(method, permit)

        return Concluding(stream, conclude)
