"""A client's limit of calls under way, among its other policies."""

import asyncio

import pytest

from carrick import BreakerOptions, RejectedError, RetryOptions
from carrick.policy.breaker import BreakerState, breaker
from carrick.policy.concurrency import ConcurrencyState, concurrency
from carrick.policy.retry import retry
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import REPLY, REQUEST, Scripted, Seen, first_attempt, half, turns


async def test_a_call_that_got_no_place_is_tried_again() -> None:
    """It was certainly never executed, so that holds for methods too that must not be repeated."""
    clock, service, state = FakeClock(), Scripted(), ConcurrencyState(1)
    call = stack(
        service,
        retry(RetryOptions(initial_backoff=1.0), clock=clock, uniform=half, observe=Seen()),
        concurrency(state, endpoint="here", clock=clock, observe=Seen()),
    )
    assert state.acquire(0.0, None, None) is None
    ctx = first_attempt()
    running = asyncio.ensure_future(call(REQUEST, ctx))
    await turns()
    assert clock.slept == [0.5]
    state.in_flight -= 1
    clock.advance(0.5)
    assert await running == REPLY
    assert (service.calls, len(ctx.call.attempts), state.in_flight) == (1, 2, 0)


async def test_a_full_limit_does_not_open_the_circuit() -> None:
    """What was never sent says nothing of the endpoint."""
    clock, state = FakeClock(), ConcurrencyState(1)
    circuit = BreakerState(BreakerOptions(min_calls=1))
    call = stack(
        Scripted(),
        breaker(circuit, endpoint="here", clock=clock, observe=Seen()),
        concurrency(state, endpoint="here", clock=clock, observe=Seen()),
    )
    state.acquire(0.0, None, None)
    for _ in range(5):
        with pytest.raises(RejectedError, match="under way"):
            await call(REQUEST, first_attempt())
    assert circuit.state == "closed"
