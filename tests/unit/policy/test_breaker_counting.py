"""Which calls through a breaker's filter count, and which say nothing of the endpoint."""

import asyncio
from typing import Any

import pytest

from carrick import Attempt, AttemptKind, BreakerOptions, CarrickError, Code, Context, RemoteError, TransportError
from carrick.options import OUTAGES
from carrick.policy.breaker import OpenReason
from carrick.service import Service
from tests.unit.calls import REPLY, Hanging, Scripted
from tests.unit.policy.breakers import SLOW, Guarded


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_only_some_statuses_speak_against_an_endpoint(code: Code) -> None:
    """An answer that is about the request, however bad, is an answer."""
    guarded = Guarded()
    await guarded.call(Scripted(code), 4)

    assert guarded.state.state == ("open" if code in OUTAGES else "closed")


async def test_an_error_of_no_attempt_is_no_answer() -> None:
    """Requests that are more than can be kept for a hedge, say, fail here, and say nothing of the endpoint."""
    guarded = Guarded()
    await guarded.until_trials()

    async def failing(request: Any, ctx: Context) -> Any:
        assert ctx.attempt is not None
        ctx.attempt.sent = True
        raise CarrickError(Code.RESOURCE_EXHAUSTED, "more than is kept")

    for error in await guarded.call(failing, 5):
        assert isinstance(error, CarrickError)
        assert error.message == "more than is kept"

    assert guarded.state.state == "half-open"
    assert guarded.counts == (0, 0, 0)
    assert guarded.admits


async def test_an_unsent_attempt_counts_for_nothing() -> None:
    """What never reached the endpoint, for lack of time or a full limit behind, says nothing about it."""
    guarded = Guarded(BreakerOptions(min_calls=1))
    unsent = TransportError(Code.UNAVAILABLE, "not sent", attempt=Attempt(1, AttemptKind.FIRST))
    await guarded.call(Scripted(unsent), 5)

    assert (guarded.state.state, guarded.counts) == ("closed", (0, 0, 0))


async def test_a_fault_of_the_program_counts_for_nothing() -> None:
    """An exception that is no CarrickError passes, and gives its permit back."""
    guarded = Guarded()
    await guarded.until_trials()

    for _ in range(5):
        with pytest.raises(KeyError):
            await guarded.call(Scripted(KeyError("bug")))
    assert guarded.state.state == "half-open"
    assert guarded.admits


async def test_a_late_result_does_not_count() -> None:
    """A call that was begun before the circuit opened and fails after it half-opened does not open it again."""
    guarded, go_on = Guarded(), asyncio.Event()

    async def late(request: object, ctx: object) -> object:
        await go_on.wait()
        raise RemoteError(Code.UNAVAILABLE, "late")

    call = await guarded.begin(late)
    await guarded.until_trials()
    assert await guarded.call(Scripted()) == [REPLY]
    go_on.set()
    await asyncio.wait((call,))

    assert isinstance(call.exception(), RemoteError)
    assert guarded.state.state == "half-open"


async def test_a_cancelled_call_counts_for_nothing() -> None:
    """Callers that give up do not open a circuit."""
    guarded = Guarded(BreakerOptions(min_calls=1))

    for _ in range(5):
        hanging = Hanging()
        call = await guarded.begin(hanging)
        assert hanging.entered.is_set()
        await _cancel(call)

    assert (guarded.state.state, guarded.counts) == ("closed", (0, 0, 0))


@pytest.mark.parametrize(("sent", "counted"), [(True, (1, 0, 1)), (False, (0, 0, 0))])
async def test_a_call_that_was_cancelled_when_it_was_slow_counts_as_slow(
    sent: bool, counted: tuple[int, int, int]
) -> None:
    """Else hedges would hide a slow endpoint, whose attempts always lose. What was never sent was not slow."""
    guarded = Guarded(BreakerOptions(slow_after=1.0))

    async def hanging(request: Any, ctx: Context) -> None:
        assert ctx.attempt is not None
        ctx.attempt.sent = sent
        await asyncio.Event().wait()

    call = await guarded.begin(hanging)
    guarded.clock.advance(1.5)
    await _cancel(call)
    assert guarded.counts == counted


async def test_a_cancelled_trial_gives_its_permit_back() -> None:
    """A half-open breaker does not stay shut because its trials were cancelled."""
    guarded = Guarded()
    await guarded.until_trials()
    trials = [await guarded.begin(Hanging()) for _ in range(2)]
    assert not guarded.admits

    for trial in trials:
        await _cancel(trial)

    assert guarded.state.state == "half-open"
    assert await guarded.call(Scripted(), 2) == [REPLY, REPLY]
    assert guarded.state.state == "closed"


async def test_the_given_clock_says_what_is_slow() -> None:
    """An answer, an error that is one, and a failure count as slow when they took longer than slow_after."""
    guarded = Guarded(SLOW)

    def taking(seconds: float, code: Code) -> Service:
        scripted = Scripted(code)

        async def service(request: Any, ctx: Context) -> object:
            guarded.clock.advance(seconds)
            return await scripted(request, ctx)

        return service

    await guarded.call(taking(1.0, Code.OK))
    await guarded.call(taking(1.5, Code.OK))
    await guarded.call(taking(1.5, Code.NOT_FOUND))
    assert guarded.counts == (3, 0, 2)
    await guarded.call(taking(1.5, Code.UNAVAILABLE))
    assert guarded.state.reason is OpenReason.SLOW


async def _cancel(call: "asyncio.Future[object]") -> None:
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()
