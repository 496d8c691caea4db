"""Circuit breaker: after too many bad calls, refuse calls for a while instead of making them.

After Nygard, "Release It!". pybreaker holds the state and tells its listeners; what changes it is decided in
:class:`BreakerState`, because pybreaker's own ``call`` admits everybody when half-open, counts a cancellation as a
failure and reads the wall clock.
"""

from dataclasses import dataclass
from typing import Any

from pybreaker import STATE_CLOSED, STATE_OPEN, CircuitBreaker, CircuitBreakerListener, CircuitBreakerState

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, RejectedError
from carrick.observe import BreakerClosed, BreakerHalfOpened, BreakerOpened, Observer
from carrick.options import OUTAGES
from carrick.policy.breaker_state import BreakerState, Counts, Opening, OpenReason, Permit
from carrick.service import Filter, Service
from carrick.stream import Concluding

__all__ = ["BreakerState", "Counts", "OpenReason", "Opening", "Permit", "breaker"]

_REASONS = {
    OpenReason.FAILURES: "too many calls failed",
    OpenReason.SLOW: "too many calls were slow",
    OpenReason.TRIAL: "a trial call failed or was slow",
    OpenReason.MANUAL: "it was opened by hand",
    OpenReason.ISOLATED: "it is held open by hand",
    None: "its trial calls are under way",
}


def breaker(state: BreakerState, *, endpoint: str, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that asks ``state`` before each call and tells it the result, and how long it took.

    A refused call raises ``RejectedError`` (``UNAVAILABLE``) and is never sent. A call that was never sent counts for
    nothing, and so does one that was cancelled, unless it was slow already: a hedge's loser often is. A stream of
    responses has succeeded with its first message, so that a trial need not wait for the end of a long one; when it
    breaks off later, that is counted as another call, a failed one.

    ``observe`` is told of each change of the state, whoever makes it, and once however many filters share the state.
    """
    teller = _Teller(state, endpoint, observe)
    if teller not in state.circuit.listeners:
        state.circuit.add_listener(teller)
    monotonic = clock.monotonic
    acquire, succeeded = state.acquire, state.succeeded

    async def guarded(request: Any, ctx: Context, service: Service) -> Any:
        began = monotonic()
        permit = acquire(began)
        if permit is None:
            raise _refused(state, endpoint, ctx)
        try:
            reply = await service(request, ctx)
        except CarrickError as error:
            now = monotonic()
            if error.attempt is None or not error.attempt.sent:
                state.forgotten(permit)  # it is no answer: it never reached the endpoint, or did not come from there
            elif error.code in OUTAGES:
                state.failed(permit, now, now - began)
            else:
                succeeded(permit, now, now - began)
            raise
        except BaseException:
            if ctx.attempt is not None and ctx.attempt.sent:
                now = monotonic()
                state.given_up(permit, now, now - began)
            else:
                state.forgotten(permit)
            raise
        now = monotonic()
        if ctx.method is not None and ctx.method.streams_responses:
            return begun(reply, permit, now, now - began)
        succeeded(permit, now, now - began)
        return reply

    def begun(stream: Any, permit: Permit, now: float, took: float) -> Any:
        """Count a stream's first message as a success, and its breaking off as one more call, a failed one."""
        late = permit is not state.current
        succeeded(permit, now, took)
        then = permit if late else state.current  # which is another one when this was the last trial

        def conclude(error: BaseException | None) -> None:
            if isinstance(error, CarrickError) and error.code in OUTAGES:
                state.failed(then, monotonic())

        return Concluding(stream, conclude)

    return guarded


def _refused(state: BreakerState, endpoint: str, ctx: Context) -> RejectedError:
    assert ctx.method is not None
    why = _REASONS[None if state.state != STATE_OPEN else state.reason]
    message = f"{ctx.method.full_name}: the circuit to {endpoint} is {state.state}: {why}"
    return RejectedError(Code.UNAVAILABLE, message, attempt=ctx.attempt)


@dataclass(frozen=True)
class _Teller(CircuitBreakerListener):
    """Turns what pybreaker tells its listeners into observations. Equal ones are told once."""

    state: BreakerState
    endpoint: str
    observe: Observer

    def state_change(
        self, cb: CircuitBreaker, old_state: CircuitBreakerState | None, new_state: CircuitBreakerState
    ) -> None:
        """Observe a change."""
        method, opening = cb.name or "", self.state.opening
        if opening is None or new_state.name == STATE_CLOSED:
            self.observe(BreakerClosed(method=method, endpoint=self.endpoint))
        elif new_state.name == STATE_OPEN:
            self.observe(
                BreakerOpened(
                    method=method, endpoint=self.endpoint, reason=opening.reason.value, **opening.counts._asdict()
                )
            )
        else:
            self.observe(BreakerHalfOpened(method=method, endpoint=self.endpoint))
