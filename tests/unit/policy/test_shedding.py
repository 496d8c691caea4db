"""The filter that turns calls away in overload."""

import asyncio
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from carrick import Code, Context, DeadlineError, MethodKind, Priority, RejectedError, SheddingOptions
from carrick.observe import CallShed
from carrick.policy.concurrency import Outcome
from carrick.policy.lag import LoopLag
from carrick.policy.pushback import pushback
from carrick.policy.shedding import SHARES, shedding, shedding_state
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, Seen, turns
from tests.unit.policy.test_concurrency import Gate, watching
from tests.unit.streams import numbers, streaming

CRITICAL, DEFAULT, SHEDDABLE = Priority.CRITICAL, Priority.DEFAULT, Priority.SHEDDABLE


class Setup:
    """A shedding filter in front of a service, on a fake clock."""

    def __init__(self, service: Any, chance: float = 0.5, **options: Any) -> None:
        self.clock, self.seen, self.lag = FakeClock(), Seen(), LoopLag()
        parts = SheddingOptions(**options)
        self.state = shedding_state(parts)
        self.call = stack(
            service,
            shedding(parts, self.state, clock=self.clock, uniform=lambda: chance, observe=self.seen, lag=self.lag),
        )

    def context(self, priority: Priority | None = None, seconds: float | None = None) -> Context:
        """Return the context of a call that came in."""
        deadline = None if seconds is None else self.clock.monotonic() + seconds
        return Context(PLAIN, priority=priority, deadline=deadline)

    def start(self, priority: Priority | None = None, seconds: float | None = None) -> asyncio.Task[Any]:
        """Begin a call."""
        ctx = self.context(priority, seconds)

        async def run() -> Any:
            return await self.call(REQUEST, ctx)

        return asyncio.create_task(run())

    async def refused(self, priority: Priority | None = None) -> float:
        """Make a call that is turned away; return what it is asked to wait."""
        ctx = self.context(priority)
        with pytest.raises(RejectedError) as caught:
            await self.call(REQUEST, ctx)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert caught.value.attempt is None
        wait = pushback(ctx.call.trailers)
        assert wait is not None
        return wait


async def test_the_least_important_are_turned_away_first() -> None:
    """With 7 of 10 places taken sheddable calls go, with 9 default ones, with 10 critical ones."""
    gate = Gate()
    setup = Setup(gate, limit=10)
    running = [setup.start() for _ in range(7)]
    await turns()
    await setup.refused(SHEDDABLE)
    running += [setup.start(DEFAULT), setup.start()]
    await turns()
    await setup.refused()
    running.append(setup.start(CRITICAL))
    await turns()
    await setup.refused(CRITICAL)
    assert setup.seen.observations == [
        CallShed(method=PLAIN.full_name, priority=priority, reason="limit")
        for priority in ("sheddable", "default", "critical")
    ]
    for call in running:
        gate.open()
        assert await call == REPLY
    assert setup.state.in_flight == 0


async def test_who_is_turned_away_is_told_why() -> None:
    """A program finds the reason in the ErrorInfo, a person in the message."""
    setup = Setup(Gate(), limit=1)
    running = setup.start()
    await turns()
    with pytest.raises(RejectedError, match="Plain was turned away by an overloaded server: all places") as caught:
        await setup.call(REQUEST, setup.context(SHEDDABLE))
    assert caught.value.details[0] == ErrorInfo(
        reason="OVERLOADED", domain="carrick", metadata={"cause": "limit", "priority": "sheddable"}
    )
    running.cancel()
    await asyncio.wait((running,))


@pytest.mark.parametrize(
    ("held", "chance", "wait"), [(0.4, 0.0, 0.2), (0.4, 0.5, 0.4), (0.4, 0.99, 0.596), (0.001, 0.5, 0.1), (60, 0.5, 2)]
)
async def test_those_turned_away_come_back_at_different_times(held: float, chance: float, wait: float) -> None:
    """After about the time that a call takes, within bounds, and by chance half as long or half as much again."""
    setup = Setup(Gate(), chance, limit=1)
    setup.state.acquire(0.0, None, None)
    setup.state.released(held, 0.0, Outcome.SILENT)
    running = setup.start()
    await turns()
    assert await setup.refused() == pytest.approx(wait, abs=0.001)
    running.cancel()
    await asyncio.wait((running,))


async def test_a_call_waits_no_longer_than_it_may() -> None:
    """After ``max_queue_time`` it is turned away, and is not begun when a place becomes free."""
    gate = Gate()
    setup = Setup(gate, limit=1, max_queued=1, max_queue_time=0.1)
    running, waiting = setup.start(), setup.start()
    await turns()
    await setup.refused()
    setup.clock.advance(0.1)
    with pytest.raises(RejectedError, match="its turn would have come too late"):
        await waiting
    gate.open()
    await running
    assert [each.reason for each in setup.seen.observations if isinstance(each, CallShed)] == ["queue", "queue_time"]
    assert (setup.state.in_flight, setup.state.queued, len(gate.contexts)) == (0, 0, 1)


async def test_work_that_expired_in_the_queue_is_refused() -> None:
    """Its caller has gone: what it gets is the deadline's error."""
    gate = Gate()
    setup = Setup(gate, limit=1, max_queued=1, max_queue_time=5.0)
    running, waiting = setup.start(), setup.start(seconds=0.2)
    await turns()
    setup.clock.advance(0.3)
    with pytest.raises(DeadlineError, match="was not begun"):
        await waiting
    gate.open()
    await running
    assert len(gate.contexts) == 1


async def test_the_more_important_call_goes_first() -> None:
    """Who waits for a place gets it by priority."""
    gate = Gate()
    setup = Setup(gate, limit=1, max_queued=3, max_queue_time=5.0)
    calls = [setup.start(each) for each in (None, SHEDDABLE, None, CRITICAL)]
    for _ in calls:
        await turns()
        gate.open()
    await asyncio.gather(*calls)
    assert [ctx.priority for ctx in gate.contexts] == [None, CRITICAL, None, SHEDDABLE]


@pytest.mark.parametrize(
    ("late", "shed"),
    [
        (0.09, []),
        (0.1, [SHEDDABLE]),
        (0.19, [SHEDDABLE]),
        (0.2, [SHEDDABLE, DEFAULT, None]),
        (50.0, [SHEDDABLE, DEFAULT, None]),
    ],
)
async def test_a_late_event_loop_turns_calls_away(late: float, shed: list[Priority | None]) -> None:
    """Sheddable ones at the lag given, default ones at twice as much, critical ones never."""
    setup = Setup(Scripted(), limit=10, max_loop_lag=0.1)
    setup.lag.expect(setup.clock.monotonic() - late)
    for priority in (CRITICAL, DEFAULT, None, SHEDDABLE):
        if priority in shed:
            assert await setup.refused(priority) == pytest.approx(min(late, 2.0), abs=0.0015)
        else:
            assert await setup.call(REQUEST, setup.context(priority)) == REPLY
    assert {each.reason for each in setup.seen.observations if isinstance(each, CallShed)} <= {"loop_lag"}


async def test_lag_is_looked_at_only_where_it_is_asked_for() -> None:
    """Another method's bound is not this one's."""
    setup = Setup(Scripted(), limit=10)
    setup.lag.expect(0.0)
    assert await setup.call(REQUEST, setup.context(SHEDDABLE)) == REPLY


async def test_a_stream_holds_its_place_until_its_end() -> None:
    """A server's stream begins after its Service has returned."""
    setup = Setup(watching, limit=1)
    stream = await setup.call(REQUEST, Context(streaming(MethodKind.SERVER_STREAM)))
    await setup.refused()
    assert await numbers(stream) == [0, 1, 2]
    assert setup.state.in_flight == 0


async def test_an_adaptive_limit_never_rises_above_the_limit() -> None:
    """It begins with it, and falls when the handlers' calls time out."""
    setup = Setup(Scripted(), limit=20, adaptive=True, min_limit=2)
    assert setup.state.caps == (20, 18, 14)
    for _ in range(19):
        setup.state.acquire(0.0, None, CRITICAL)  # the limit is in use all the time

    def calls(count: int, outcome: Outcome) -> None:
        for _ in range(count):
            began = setup.clock.monotonic()
            setup.state.acquire(began, None, CRITICAL)
            setup.clock.advance(0.05)
            setup.state.released(setup.clock.monotonic(), began, outcome)
            setup.state.in_flight = 19  # while the limit is low no call would be admitted

    calls(300, Outcome.DROPPED)
    assert setup.state.limit < 20
    calls(20_000, Outcome.ANSWERED)
    assert setup.state.limit == 20


def test_shares_are_those_that_the_contract_promises() -> None:
    """They are written down in the options and in options.proto."""
    assert SHARES == (100, 90, 70)
    assert shedding_state(SheddingOptions(limit=1000)).caps == (1000, 900, 700)
