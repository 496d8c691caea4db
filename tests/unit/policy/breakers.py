"""Breakers in the states that tests begin with, and calls through them."""

import asyncio

from carrick import BreakerOptions, CarrickError, Code
from carrick.policy.breaker import BreakerState, Permit, breaker
from carrick.service import Service, stack
from carrick.testing import FakeClock
from tests.unit.calls import REQUEST, Scripted, Seen, first_attempt, turns

OPTIONS = BreakerOptions(failure_ratio=0.5, window=10.0, min_calls=4, open_for=5.0, trials=2)
SLOW = BreakerOptions(slow_after=1.0, slow_ratio=0.75, min_calls=4, failure_ratio=1.0, trials=2)
NAME = "test.v1.Tests/Plain"


def admitted(state: BreakerState, now: float) -> Permit:
    """Begin a call, which must be let through."""
    permit = state.acquire(now)
    assert permit is not None
    return permit


def run_calls(state: BreakerState, now: float, *, failures: int = 0, successes: int = 0) -> None:
    """Begin and end calls, one after the other, those that succeed first."""
    for _ in range(successes):
        state.succeeded(admitted(state, now), now)
    for _ in range(failures):
        state.failed(admitted(state, now), now)


def opened(now: float = 0.0) -> BreakerState:
    """Return a breaker that failures have opened."""
    state = BreakerState(OPTIONS)
    run_calls(state, now, failures=4)
    assert state.state == "open"
    return state


class Guarded:
    """A breaker's filter, with the clock that it reads, in front of services that a test gives."""

    def __init__(self, options: BreakerOptions = OPTIONS, clock: FakeClock | None = None) -> None:
        self.state = BreakerState(options, name=NAME)
        self.clock = clock or FakeClock()
        self.seen = Seen()

    @property
    def counts(self) -> tuple[int, int, int]:
        """The calls, failures and slow calls that count now."""
        return self.state.counts(self.clock.monotonic())

    @property
    def admits(self) -> bool:
        """Whether a call would be let through now."""
        return self.state.admits(self.clock.monotonic())

    def before(self, service: Service) -> Service:
        """Put the breaker before a service."""
        return stack(service, breaker(self.state, endpoint="host:1", clock=self.clock, observe=self.seen))

    async def call(self, service: Service, times: int = 1) -> list[object]:
        """Call a service, one call after the other, and return the replies and the errors."""
        results: list[object] = []
        for _ in range(times):
            try:
                results.append(await self.before(service)(REQUEST, first_attempt()))
            except CarrickError as error:
                results.append(error)
        return results

    async def begin(self, service: Service) -> "asyncio.Future[object]":
        """Begin a call that does not end by itself."""
        call = asyncio.ensure_future(self.before(service)(REQUEST, first_attempt()))
        await turns()
        assert not call.done()
        return call

    async def open(self) -> None:
        """Open it by calls that fail."""
        await self.call(Scripted(Code.UNAVAILABLE), OPTIONS.min_calls)
        assert self.state.state == "open"

    async def until_trials(self) -> None:
        """Open it, and let the time pass until it admits trials."""
        await self.open()
        self.clock.advance(OPTIONS.open_for)
