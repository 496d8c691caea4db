"""The filter that bounds the calls to an endpoint."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from carrick import CarrickError, Code, Context, DeadlineError, MethodKind, Priority, RejectedError, Service
from carrick.observe import LimitReached
from carrick.policy.concurrency import ConcurrencyState, Outcome, Waiter, concurrency, outcome_of
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPLY, REQUEST, Hanging, Scripted, Seen, first_attempt, turns
from tests.unit.streams import item, items, numbers, streaming

WATCH = streaming(MethodKind.SERVER_STREAM)


class Gate:
    """A Service that answers when it is told to, in the order in which it was called."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, request: Any, ctx: Context) -> Any:
        """Wait."""
        self.contexts.append(ctx)
        self._waiting.append(asyncio.get_running_loop().create_future())
        await self._waiting[-1]
        return REPLY

    def open(self) -> None:
        """Answer the first that waits."""
        self._waiting.pop(0).set_result(None)


class Interrupted(ConcurrencyState):
    """A state after whose decisions something happens before those who wait hear of them."""

    meanwhile: Callable[[], object] | None = None

    def released(self, now: float, began: float, outcome: Outcome) -> Sequence[Waiter]:
        """Hand out places, and let it happen once."""
        decided = super().released(now, began, outcome)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return decided


class Setup:
    """A filter in front of a service, on a fake clock."""

    def __init__(self, service: Service, limit: int = 1, **options: Any) -> None:
        self.clock, self.seen = FakeClock(), Seen()
        self.state = Interrupted(limit, **options)
        self.call = stack(service, concurrency(self.state, endpoint="here", clock=self.clock, observe=self.seen))

    def start(self, ctx: Context | None = None) -> asyncio.Task[Any]:
        """Begin a call."""
        return asyncio.create_task(_await(self.call(REQUEST, ctx or first_attempt())))

    def within(self, seconds: float, priority: Priority | None = None) -> Context:
        """Return a context with a deadline."""
        ctx = Context(PLAIN, deadline=self.clock.monotonic() + seconds, priority=priority)
        return first_attempt_of(ctx)


def first_attempt_of(ctx: Context) -> Context:
    """Return the context of the first attempt."""
    return ctx.new_attempt(first_attempt().attempt.kind)  # type: ignore[union-attr]


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def test_a_call_above_the_limit_is_never_sent() -> None:
    """It is rejected with its attempt, so that retry knows, and observed."""
    gate = Gate()
    setup = Setup(gate)
    running = setup.start()
    await turns()
    ctx = first_attempt()
    with pytest.raises(RejectedError, match="1 calls to here are under way, and none may wait") as caught:
        await setup.call(REQUEST, ctx)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.attempt is ctx.attempt
    assert setup.seen.observations == [LimitReached(method=PLAIN.full_name, endpoint="here", limit=1)]
    gate.open()
    assert await running == REPLY
    assert len(gate.contexts) == 1
    assert setup.state.in_flight == 0


@pytest.mark.parametrize("error", [CarrickError(Code.NOT_FOUND, "no"), ValueError("bug")])
async def test_a_failed_call_hands_its_place_back(error: Exception) -> None:
    """Whatever is raised."""
    setup = Setup(Scripted(error))
    for _ in range(3):
        with pytest.raises(type(error)):
            await setup.call(REQUEST, first_attempt())
    assert setup.state.in_flight == 0


async def test_a_cancelled_call_hands_its_place_back() -> None:
    """And stays cancelled."""
    hanging = Hanging()
    setup = Setup(hanging)
    running = setup.start()
    await hanging.entered.wait()
    running.cancel()
    await asyncio.wait((running,))
    assert running.cancelled()
    assert setup.state.in_flight == 0


async def test_a_waiting_call_goes_ahead_when_another_ends() -> None:
    """It starts no timer when it has no deadline."""
    gate = Gate()
    setup = Setup(gate, max_queued=1)
    first, second = setup.start(), setup.start()
    await turns()
    assert len(gate.contexts) == 1
    gate.open()
    assert await first == REPLY
    await turns()
    gate.open()
    assert await second == REPLY
    assert setup.clock.slept == []
    assert (setup.state.in_flight, setup.state.queued) == (0, 0)


async def test_a_call_that_need_not_wait_sets_no_timer() -> None:
    """Only calls in the queue have one."""
    setup = Setup(Scripted())
    tasks = asyncio.all_tasks()
    await setup.call(REQUEST, setup.within(1.0))
    assert setup.clock.slept == []
    assert asyncio.all_tasks() == tasks


async def test_a_waiting_call_is_refused_at_its_deadline() -> None:
    """It leaves the queue and is not sent, even if a place becomes free later."""
    gate = Gate()
    setup = Setup(gate, max_queued=1)
    running, waiting = setup.start(), setup.start(setup.within(1.0))
    await turns()
    setup.clock.advance(1.0)
    with pytest.raises(DeadlineError, match="its deadline passed while it waited"):
        await waiting
    assert setup.state.queued == 0
    gate.open()
    await running
    assert len(gate.contexts) == 1
    assert setup.state.in_flight == 0
    assert setup.seen.names == ["LimitReached"]


async def test_an_attempts_deadline_counts_too() -> None:
    """An attempt that has waited too long is rejected, so that another endpoint may be tried."""
    gate = Gate()
    setup = Setup(gate, max_queued=1)
    running = setup.start()
    ctx = setup.within(10.0)
    assert ctx.attempt is not None
    ctx.attempt.deadline = setup.clock.monotonic() + 1.0
    waiting = setup.start(ctx)
    await turns()
    setup.clock.advance(1.0)
    with pytest.raises(RejectedError, match="too late"):
        await waiting
    gate.open()
    await running


async def test_a_place_that_comes_too_late_is_passed_on() -> None:
    """When the event loop lags between the place and its taking, the deadline is looked at again."""
    gate = Gate()
    setup = Setup(gate, max_queued=2)
    running = setup.start()
    late, following = setup.start(setup.within(1.0)), setup.start(setup.within(5.0))
    await turns()
    setup.state.meanwhile = lambda: setup.clock.advance(2.0)
    gate.open()
    with pytest.raises(DeadlineError):
        await late
    assert await running == REPLY
    await turns()
    gate.open()
    assert await following == REPLY
    assert len(gate.contexts) == 2
    assert setup.state.in_flight == 0


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    """And the next one gets the place."""
    gate = Gate()
    setup = Setup(gate, max_queued=2)
    running, cancelled, following = setup.start(), setup.start(setup.within(9.0)), setup.start(setup.within(9.0))
    await turns()
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    assert cancelled.cancelled()
    assert setup.state.queued == 1
    gate.open()
    await running
    await turns()
    gate.open()
    assert await following == REPLY
    assert setup.state.in_flight == 0


async def test_a_waiter_cancelled_in_the_moment_of_its_admission_passes_its_place_on() -> None:
    """The place is not lost between the one who gave it and the one who did not take it."""
    gate = Gate()
    setup = Setup(gate, max_queued=2)
    running, cancelled, following = setup.start(), setup.start(setup.within(9.0)), setup.start()
    await turns()
    setup.state.meanwhile = cancelled.cancel
    gate.open()
    await asyncio.wait((cancelled, running))
    assert cancelled.cancelled()
    await turns()
    assert len(gate.contexts) == 2
    gate.open()
    assert await following == REPLY
    assert setup.state.in_flight == 0


async def test_waiting_leaves_no_timer_behind() -> None:
    """A waiter with a deadline that got its place has ended its timer."""
    gate = Gate()
    setup = Setup(gate, max_queued=1)
    tasks = asyncio.all_tasks()
    calls = [setup.start(), setup.start(setup.within(9.0))]
    await turns()
    for call in calls:
        gate.open()
        await call
        await turns()
    assert asyncio.all_tasks() == tasks


async def test_a_displaced_waiter_is_told() -> None:
    """A critical call takes the place in the queue of a sheddable one, which is rejected at once."""
    gate = Gate()
    setup = Setup(gate, max_queued=1)
    running, sheddable = setup.start(), setup.start(setup.within(9.0, Priority.SHEDDABLE))
    await turns()
    critical = setup.start(setup.within(9.0, Priority.CRITICAL))
    with pytest.raises(RejectedError, match="no more may wait"):
        await sheddable
    for call in (running, critical):
        gate.open()
        assert await call == REPLY
        await turns()


async def watching(request: Any, ctx: Context) -> AsyncIterator[Any]:
    """Answer with three messages."""
    return items(3)


async def broken(request: Any, ctx: Context) -> AsyncIterator[Any]:
    """Answer with a message and an error."""

    async def stream() -> AsyncIterator[Any]:
        yield item(0)
        raise CarrickError(Code.UNAVAILABLE, "broke off")

    return stream()


async def test_a_stream_holds_its_place_until_its_end() -> None:
    """Its last message is the end of the call."""
    setup = Setup(watching)
    stream = await setup.call(REQUEST, first_attempt(WATCH))
    assert setup.state.in_flight == 1
    with pytest.raises(RejectedError):
        await setup.call(REQUEST, first_attempt(WATCH))
    assert await numbers(stream) == [0, 1, 2]
    assert setup.state.in_flight == 0


async def test_a_stream_that_breaks_off_hands_its_place_back() -> None:
    """As its ordinary end does."""
    setup = Setup(broken)
    stream = await setup.call(REQUEST, first_attempt(WATCH))
    with pytest.raises(CarrickError, match="broke off"):
        await numbers(stream)
    assert setup.state.in_flight == 0


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_that_is_closed_hands_its_place_back(begun: bool) -> None:
    """Whether anybody has read from it or not, and once."""
    setup = Setup(watching)
    stream = await setup.call(REQUEST, first_attempt(WATCH))
    if begun:
        await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert setup.state.in_flight == 0


def failure(code: Code, *, sent: bool = True) -> CarrickError:
    """Return the error of an attempt."""
    attempt = first_attempt().attempt
    assert attempt is not None
    attempt.sent = sent
    return CarrickError(code, "as told", attempt=attempt)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (failure(Code.NOT_FOUND), Outcome.ANSWERED),
        (failure(Code.DEADLINE_EXCEEDED), Outcome.DROPPED),
        (failure(Code.RESOURCE_EXHAUSTED), Outcome.DROPPED),
        (failure(Code.UNAVAILABLE), Outcome.DROPPED),
        (failure(Code.UNAVAILABLE, sent=False), Outcome.SILENT),
        (failure(Code.INTERNAL), Outcome.SILENT),
        (ValueError("bug"), Outcome.SILENT),
    ],
)
def test_what_an_error_says_of_the_service(error: Exception, outcome: Outcome) -> None:
    """Timeouts and refusals are drops, answers are answers, and what fails by itself says nothing."""
    assert outcome_of(error, first_attempt(), 1.0, 0.0) is outcome


@pytest.mark.parametrize(
    ("deadline", "outcome"),
    [(None, Outcome.SILENT), (5.0, Outcome.SILENT), (1.05, Outcome.DROPPED), (0.9, Outcome.DROPPED)],
)
def test_a_cancellation_at_the_deadline_is_a_timeout(deadline: float | None, outcome: Outcome) -> None:
    """A caller's deadline comes a little before the server's, since the call was on its way; other ends say nothing."""
    ctx = first_attempt(deadline=deadline)
    assert outcome_of(asyncio.CancelledError(), ctx, 1.0, 0.0) is outcome


async def test_only_unary_calls_move_an_adaptive_limit() -> None:
    """How long a stream of requests takes is its caller's doing too."""
    outcomes: list[Outcome] = []

    class Recorded(ConcurrencyState):
        def released(self, now: float, began: float, outcome: Outcome) -> Any:
            outcomes.append(outcome)
            return super().released(now, began, outcome)

    state = Recorded(1)
    limit = concurrency(state, endpoint="here", clock=FakeClock(), observe=Seen())
    ended: Callable[[Any, Context], Awaitable[Any]] = stack(Scripted(), limit)
    await ended(REQUEST, first_attempt())
    await ended(REQUEST, first_attempt(streaming(MethodKind.CLIENT_STREAM)))
    assert outcomes == [Outcome.ANSWERED, Outcome.SILENT]
