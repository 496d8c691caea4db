from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from carrick import (
    BreakerOptions,
    Code,
    Context,
    DeadlineError,
    EventSpec,
    Filter,
    MethodPolicy,
    RejectedError,
    RemoteError,
    RetryOptions,
    Service,
    Trace,
)
from carrick.observe import ignore
from carrick.policy.breaker import BreakerState
from carrick.stacks import endpoint_stack, event_stack, server_stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_carrick import ORDER_PLACED
from tests.unit.calls import PLAIN, REPEATABLE, REQUEST, Scripted, client, first_attempt


class _Noting:
    """Instruments that note which of their filters were entered."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def position(self, ctx: Context | None) -> Trace | None:
        return ctx.trace if ctx else None

    def call(self) -> Filter:
        return self._note("call")

    def attempt(self) -> Filter:
        return self._note("attempt")

    def server(self) -> Filter:
        return self._note("server")

    def process(self, spec: EventSpec[Any], consumer: str) -> Filter:
        return self._note(f"process by {consumer}")

    def created(self, spec: EventSpec[Any], event_id: str, ctx: Context | None) -> Trace | None:
        return None

    def send(self, subject: str, event_id: str, trace: Trace | None) -> AbstractContextManager[None]:
        return nullcontext()

    def _note(self, name: str) -> Filter:
        async def noting(request: Any, ctx: Context, service: Service) -> Any:
            self.notes.append(name)
            return await service(request, ctx)

        return noting


async def _run_client(policy: MethodPolicy, instruments: _Noting | None = None) -> Scripted:
    endpoint = Scripted(Code.UNAVAILABLE, Code.OK)
    service = client(endpoint, policy, clock=FakeClock(autojump=True), instruments=instruments)
    await service(REQUEST, first_attempt(REPEATABLE))
    return endpoint


async def test_a_call_has_one_span_and_each_attempt_another() -> None:
    """The call's telemetry stands outside the retry, the attempt's inside."""
    instruments = _Noting()
    await _run_client(MethodPolicy(retry=RetryOptions()), instruments)

    assert instruments.notes == ["call", "attempt", "attempt"]


@pytest.mark.parametrize("policy", [MethodPolicy(), MethodPolicy(retry=RetryOptions(max_attempts=1))])
async def test_a_client_stack_without_policies_is_the_balancer(policy: MethodPolicy) -> None:
    """What a contract does not ask for is not there, and one attempt is no retry."""
    balancer = Scripted()
    service = client(balancer, policy, clock=FakeClock())

    assert service is balancer


async def test_an_endpoint_stack_without_breaker_is_the_transport() -> None:
    """An endpoint that nothing judges is its transport."""
    transport = Scripted()

    assert endpoint_stack(transport, None, None, endpoint="e", clock=FakeClock(), observe=ignore) is transport


async def test_an_endpoint_stack_with_breaker_refuses() -> None:
    """The breaker stands in front of the transport."""
    transport = Scripted(Code.UNAVAILABLE)
    state = BreakerState(BreakerOptions(min_calls=1))
    service = endpoint_stack(transport, state, None, endpoint="e", clock=FakeClock(), observe=ignore)

    with pytest.raises(RemoteError):
        await service(REQUEST, first_attempt())
    with pytest.raises(RejectedError):
        await service(REQUEST, first_attempt())
    assert transport.calls == 1


async def test_server_telemetry_sees_what_the_deadline_refuses() -> None:
    """A refused call has a span too."""
    instruments = _Noting()
    handler = Scripted()
    service = server_stack(handler, PLAIN, clock=FakeClock(start=100.0), claims=None, instruments=instruments)

    with pytest.raises(DeadlineError):
        await service(REQUEST, Context(PLAIN, deadline=99.0))
    assert instruments.notes == ["server"]
    assert handler.calls == 0


async def test_filters_of_the_user_stand_nearest_to_the_handler() -> None:
    """A user's filter sees only calls that will run, in the order it was given."""
    instruments = _Noting()
    service = server_stack(
        Scripted(),
        PLAIN,
        clock=FakeClock(),
        claims=None,
        instruments=instruments,
        extra=[instruments._note("first"), instruments._note("second")],
    )
    await service(REQUEST, Context(PLAIN))

    assert instruments.notes == ["server", "first", "second"]


async def test_an_event_stack_is_the_handler_or_its_span() -> None:
    """Without instruments nothing stands before an event's handler."""
    handler, instruments = Scripted(), _Noting()

    assert event_stack(handler, ORDER_PLACED, "mailer", instruments=None) is handler
    await event_stack(handler, ORDER_PLACED, "mailer", instruments=instruments)(REQUEST, Context(None))
    assert instruments.notes == ["process by mailer"]
    assert handler.calls == 1
