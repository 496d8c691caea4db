import pytest

from carrick import Code, Context, DeadlineError
from carrick.policy.deadline import DEFAULT_MARGIN, bound_attempts, effective_deadline, refuse_expired
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, first_attempt


@pytest.mark.parametrize(
    ("timeout", "inherited", "expected"),
    [(None, None, None), (2.0, None, 102.0), (None, 105.0, 105.0), (2.0, 105.0, 102.0), (9.0, 105.0, 105.0)],
)
def test_the_earlier_deadline_wins(timeout: float | None, inherited: float | None, expected: float | None) -> None:
    """A call ends with its own timeout or with what it was made for, whichever comes first."""
    assert effective_deadline(100.0, timeout, inherited, margin=0.0) == expected


def test_an_inherited_deadline_is_shortened_by_the_margin() -> None:
    """What was called needs time to answer; the margin takes nothing from the call's own timeout."""
    assert effective_deadline(100.0, 9.0, 105.0, margin=0.5) == 104.5
    assert effective_deadline(100.0, 2.0, 105.0, margin=0.5) == 102.0
    assert effective_deadline(100.0, None, 105.0) == pytest.approx(105.0 - DEFAULT_MARGIN)


@pytest.mark.parametrize("deadline", [None, 100.001])
async def test_work_in_time_is_begun(deadline: float | None) -> None:
    """A call whose deadline is ahead, or that has none, passes."""
    service = stack(Scripted(), refuse_expired(FakeClock(start=100.0)))

    assert await service(REQUEST, first_attempt(deadline=deadline)) == REPLY


@pytest.mark.parametrize("deadline", [100.0, 99.0, 0.0])
async def test_expired_work_is_not_begun(deadline: float) -> None:
    """A call whose deadline has passed, or passes now, is refused without touching the handler."""
    handler = Scripted()
    service = stack(handler, refuse_expired(FakeClock(start=100.0)))
    ctx = first_attempt(deadline=deadline)

    with pytest.raises(DeadlineError, match=r"test\.v1\.Tests/Plain was not begun: its deadline had passed") as caught:
        await service(REQUEST, ctx)

    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert caught.value.attempt is ctx.attempt
    assert handler.calls == 0


async def test_events_have_deadlines_too() -> None:
    """Without a method the message speaks of the call."""
    with pytest.raises(DeadlineError, match="the call was not begun"):
        await stack(Scripted(), refuse_expired(FakeClock()))(REQUEST, Context(None, deadline=1.0))


def test_the_wall_clock_does_not_matter() -> None:
    """Deadlines are in monotonic time: setting the system's clock changes nothing."""
    clock = FakeClock(start=100.0, epoch=0.0)

    assert Context(PLAIN, deadline=effective_deadline(clock.monotonic(), 1.0, None)).remaining(100.0) == 1.0


async def _attempted(timeout: float | None, min_remaining: float | None, deadline: float | None) -> Context:
    transport = Scripted()
    ctx = first_attempt(deadline=deadline)
    await stack(transport, bound_attempts(timeout, min_remaining, clock=FakeClock(start=100.0)))(REQUEST, ctx)
    return ctx


@pytest.mark.parametrize(
    ("timeout", "deadline", "expected"),
    [(1.0, None, 101.0), (1.0, 105.0, 101.0), (1.0, 100.5, None), (None, 105.0, None)],
)
async def test_an_attempt_has_a_deadline_of_its_own(
    timeout: float | None, deadline: float | None, expected: float | None
) -> None:
    """Where it comes before the call's; it bounds the response, and the call's stays what it was."""
    ctx = await _attempted(timeout, None, deadline)
    assert ctx.attempt is not None
    assert ctx.attempt.deadline == expected
    assert ctx.deadline == deadline


@pytest.mark.parametrize(("deadline", "sent"), [(None, True), (100.25, True), (100.2, False), (99.0, False)])
async def test_an_attempt_that_cannot_finish_is_not_sent(deadline: float | None, sent: bool) -> None:
    """The error says what is needed and what is left, and that nothing was sent."""
    if sent:
        await _attempted(None, 0.25, deadline)
        return
    with pytest.raises(DeadlineError, match=r"was not sent: it needs 0\.25 s, and 0(\.2)? s are left") as caught:
        await _attempted(None, 0.25, deadline)
    assert caught.value.attempt is not None
    assert not caught.value.attempt.sent
