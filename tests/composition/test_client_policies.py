"""Client policies that meet each other: the order in which they stand, by what it does."""

import asyncio

import pytest

from carrick import (
    BreakerOptions,
    Code,
    DeadlineError,
    MethodPolicy,
    RejectedError,
    RemoteError,
    RetryOptions,
    Service,
)
from carrick.policy.breaker import BreakerState
from carrick.rpc.balancer import Balancer
from carrick.rpc.endpoint import Endpoint
from carrick.stacks import endpoint_stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPEATABLE, REQUEST, Hanging, Scripted, Seen, client, first_attempt

BREAKER = BreakerOptions(failure_ratio=0.5, min_calls=2, window=10, open_for=5, trials=1)


class Client:
    """A client's whole stack before endpoints of the test's own, with a breaker for each."""

    def __init__(self, *transports: Service, attempts: int = 4) -> None:
        self.clock = FakeClock(autojump=True)
        self.seen = Seen()
        self.breakers = [BreakerState(BREAKER) for _ in transports]
        endpoints = [
            self._endpoint(str(number), transport, state)
            for number, (transport, state) in enumerate(zip(transports, self.breakers, strict=True))
        ]
        policy = MethodPolicy(retry=RetryOptions(max_attempts=attempts, initial_backoff=0.1, max_backoff=0.1))
        self.service = client(Balancer(endpoints, lambda: 0.0), policy, clock=self.clock, observe=self.seen)

    def trip(self, number: int) -> None:
        """Open an endpoint's circuit."""
        state, now = self.breakers[number], self.clock.monotonic()
        for _ in range(BREAKER.min_calls):
            permit = state.acquire(now)
            assert permit is not None
            state.failed(permit, now)
        assert state.state == "open"

    def _endpoint(self, name: str, transport: Service, state: BreakerState) -> Endpoint:
        service = endpoint_stack(transport, state, None, endpoint=name, clock=self.clock, observe=self.seen)
        return Endpoint(name, service, lambda: state.admits(self.clock.monotonic()))


async def test_another_attempt_goes_to_another_endpoint() -> None:
    """Retry stands outside the balancer: the second try leaves the endpoint that failed."""
    first, second = Scripted(Code.UNAVAILABLE, endpoint="0"), Scripted(endpoint="1")
    client = Client(first, second)
    await client.service(REQUEST, first_attempt(REPEATABLE))
    assert (first.calls, second.calls) == (1, 1)


async def test_every_attempt_counts_for_the_breaker() -> None:
    """The breaker stands inside retry: one call with two failed attempts opens it, and the third is refused."""
    away = Scripted(Code.UNAVAILABLE, endpoint="0")
    client = Client(away)
    with pytest.raises(RejectedError) as raised:
        await client.service(REQUEST, first_attempt(REPEATABLE))
    assert away.calls == 2
    assert client.breakers[0].state == "open"
    assert raised.value.attempt is not None
    assert raised.value.attempt.number == 4
    assert not raised.value.attempt.sent


async def test_a_refusal_by_an_open_circuit_is_retried_even_where_repeating_is_not_safe() -> None:
    """What was never sent may be tried again, and finds the circuit half-open after a while."""
    transport = Scripted(endpoint="0")
    client = Client(transport)
    client.trip(0)
    client.clock.advance(4.92)
    await client.service(REQUEST, first_attempt(PLAIN))
    assert transport.calls == 1
    assert client.breakers[0].state == "closed"
    assert client.seen.names == [
        "BreakerOpened",
        "RetryScheduled",
        "RetryScheduled",
        "BreakerHalfOpened",
        "BreakerClosed",
    ]


async def test_what_was_sent_is_not_retried_where_repeating_is_not_safe() -> None:
    """A method without idempotency gets one try once it was sent."""
    away = Scripted(Code.UNAVAILABLE, endpoint="0")
    client = Client(away)
    with pytest.raises(RemoteError):
        await client.service(REQUEST, first_attempt(PLAIN))
    assert away.calls == 1


async def test_the_balancer_passes_over_an_open_circuit() -> None:
    """An endpoint whose circuit is open gets no first try while another admits calls."""
    first, second = Scripted(Code.UNAVAILABLE, endpoint="0"), Scripted(endpoint="1")
    client = Client(first, second)
    for _ in range(2):
        await client.service(REQUEST, first_attempt(REPEATABLE))
    assert client.breakers[0].state == "open"
    await client.service(REQUEST, first_attempt(REPEATABLE))
    assert (first.calls, second.calls) == (2, 3)


async def test_the_deadline_bounds_all_attempts() -> None:
    """When the wait before the next try would pass the deadline, the call ends at once, from the last error."""
    away = Scripted(Code.UNAVAILABLE, endpoint="0")
    client = Client(away, attempts=100)
    ctx = first_attempt(REPEATABLE, deadline=client.clock.monotonic() + 0.12)
    with pytest.raises(DeadlineError) as raised:
        await client.service(REQUEST, ctx)
    assert sum(client.clock.slept) <= 0.12
    assert raised.value.__cause__ is not None


async def test_a_business_answer_passes_all_policies() -> None:
    """A status that speaks of the request is neither retried nor held against the endpoint."""
    refusing = Scripted(Code.FAILED_PRECONDITION, endpoint="0")
    client = Client(refusing)
    for _ in range(5):
        with pytest.raises(RemoteError):
            await client.service(REQUEST, first_attempt(REPEATABLE))
    assert refusing.calls == 5
    assert client.breakers[0].state == "closed"


async def test_cancelling_a_trial_call_gives_its_permit_back() -> None:
    """A half-open circuit with one trial is not stuck when that trial's caller goes away."""
    hanging = Hanging()
    client = Client(hanging)
    state = client.breakers[0]
    client.trip(0)
    client.clock.advance(5)
    call = asyncio.ensure_future(client.service(REQUEST, first_attempt(REPEATABLE)))
    await hanging.entered.wait()
    assert not state.admits(client.clock.monotonic())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert state.admits(client.clock.monotonic())
