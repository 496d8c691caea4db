"""What a transport refuses to send."""

import math

import pytest

from carrick import AttemptKind, BreakerOptions, CarrickError, Code, Context, DeadlineError, Metadata, stack
from carrick.observe import ignore
from carrick.policy.breaker import BreakerState, breaker
from carrick.rpc.transport import GrpcTransport
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REQUEST

OPTIONS = BreakerOptions(min_calls=1, open_for=1.0, trials=1)
BAD: Metadata = (("Upper-Case", "x"),)


async def test_metadata_that_cannot_be_sent_is_no_answer() -> None:
    """It is refused before anything is sent, so a circuit on trial learns nothing from it."""
    clock, state = FakeClock(), BreakerState(OPTIONS)
    service = stack(
        GrpcTransport("127.0.0.1:1", clock).service(PLAIN), breaker(state, endpoint="e", clock=clock, observe=ignore)
    )
    state.open(clock.monotonic())
    clock.advance(1.0)
    with pytest.raises(CarrickError) as raised:
        await service(REQUEST, Context(PLAIN, metadata=BAD).new_attempt(AttemptKind.FIRST))
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.attempt is not None
    assert not raised.value.attempt.sent
    assert state.state == "half-open"
    assert state.admits(clock.monotonic())


async def test_a_deadline_that_is_no_number_is_refused() -> None:
    """It is neither before now nor after."""
    service = GrpcTransport("127.0.0.1:1", FakeClock()).service(PLAIN)
    with pytest.raises(DeadlineError, match="was not sent"):
        await service(REQUEST, Context(PLAIN, deadline=math.nan).new_attempt(AttemptKind.FIRST))
