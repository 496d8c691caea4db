"""What a breaker's filter tells: its callers why they are refused, and its observer of each change."""

import pytest

from carrick import Code, RejectedError
from carrick.observe import BreakerClosed, BreakerHalfOpened, BreakerOpened
from tests.unit.calls import REQUEST, Scripted, first_attempt
from tests.unit.policy.breakers import NAME, SLOW, Guarded, admitted, run_calls


async def test_a_refused_call_is_rejected_and_never_sent() -> None:
    """The error says which circuit is open, and its attempt was not sent."""
    guarded, endpoint = Guarded(), Scripted()
    await guarded.open()
    ctx = first_attempt()

    with pytest.raises(RejectedError, match=r"test\.v1\.Tests/Plain: the circuit to host:1 is open") as caught:
        await guarded.before(endpoint)(REQUEST, ctx)

    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is ctx.attempt
    assert ctx.attempt is not None
    assert not ctx.attempt.sent
    assert endpoint.calls == 0


async def test_each_change_is_observed_once() -> None:
    """Opening, half-opening and closing are told with method, endpoint and counts."""
    guarded = Guarded()
    await guarded.until_trials()
    await guarded.call(Scripted(Code.INTERNAL))
    guarded.clock.advance(5.0)
    await guarded.call(Scripted(), 3)

    assert guarded.seen.observations == [
        BreakerOpened(method=NAME, endpoint="host:1", reason="failures", calls=4, failures=4, slow=0),
        BreakerHalfOpened(method=NAME, endpoint="host:1"),
        BreakerOpened(method=NAME, endpoint="host:1", reason="trial", calls=1, failures=1, slow=0),
        BreakerHalfOpened(method=NAME, endpoint="host:1"),
        BreakerClosed(method=NAME, endpoint="host:1"),
    ]


async def test_changes_by_hand_are_observed_too() -> None:
    """Whoever changes the state, the observer hears of it; two filters on one state tell it once."""
    guarded = Guarded()
    for _ in range(2):
        guarded.before(Scripted())
    guarded.state.open(guarded.clock.monotonic())
    guarded.state.isolate()
    guarded.state.close()

    nothing = {"calls": 0, "failures": 0, "slow": 0}
    assert guarded.seen.observations == [
        BreakerOpened(method=NAME, endpoint="host:1", reason="manual", **nothing),
        BreakerOpened(method=NAME, endpoint="host:1", reason="isolated", **nothing),
        BreakerClosed(method=NAME, endpoint="host:1"),
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("failures", "open: too many calls failed"),
        ("slow", "open: too many calls were slow"),
        ("trial", "open: a trial call failed or was slow"),
        ("manual", "open: it was opened by hand"),
        ("isolated", "open: it is held open by hand"),
        ("half-open", "half-open: its trial calls are under way"),
    ],
)
async def test_a_refusal_says_why(change: str, why: str) -> None:
    """Who reads the error need not guess whether the endpoint is down, slow, or shut by a colleague."""
    guarded = Guarded(SLOW)
    state, clock = guarded.state, guarded.clock
    now = clock.monotonic()
    if change == "slow":
        for _ in range(4):
            state.succeeded(admitted(state, now), now, 2.0)
    elif change == "manual":
        state.open(now)
    elif change == "isolated":
        state.isolate()
    else:
        run_calls(state, now, failures=4)
    if change in ("trial", "half-open"):
        clock.advance(5.0)
        trials = [admitted(state, clock.monotonic()) for _ in range(2)]
        if change == "trial":
            state.failed(trials[0], clock.monotonic())

    with pytest.raises(RejectedError) as caught:
        await guarded.before(Scripted())(REQUEST, first_attempt())
    assert caught.value.message == f"{NAME}: the circuit to host:1 is {why}"
