"""A breaker goes through all its states by the clock that it was given, and without pybreaker's own calls."""

import time

import pybreaker
import pytest

from carrick import Code, RejectedError
from carrick.testing import FakeClock
from tests.unit.calls import Scripted
from tests.unit.policy.breakers import Guarded


class _NoWall(FakeClock):
    def wall(self) -> float:
        raise AssertionError("a breaker must not read the wall clock")


async def _drive(clock: FakeClock) -> None:
    """Take a breaker through all its states."""
    guarded = Guarded(clock=clock)
    await guarded.open()
    assert isinstance((await guarded.call(Scripted()))[0], RejectedError)
    clock.advance(5.0)
    await guarded.call(Scripted(Code.UNAVAILABLE))
    clock.advance(5.0)
    await guarded.call(Scripted(), 3)
    assert guarded.seen.names == [
        "BreakerOpened",
        "BreakerHalfOpened",
        "BreakerOpened",
        "BreakerHalfOpened",
        "BreakerClosed",
    ]


async def test_only_the_given_monotonic_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other clock is read: neither the wall nor the process's own."""

    def forbidden() -> float:
        raise AssertionError("a breaker must use the clock it was given")

    clock = _NoWall()
    with monkeypatch.context() as patched:
        for name in ("time", "time_ns"):
            patched.setattr(time, name, forbidden)
        await _drive(clock)


async def test_pybreakers_own_calls_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """They admit everybody when half-open, count cancellations as failures and read the wall clock."""

    def forbidden(*_: object, **__: object) -> object:
        raise AssertionError("pybreaker must not make the call")

    for name in ("call", "calling", "call_async", "__call__"):
        assert hasattr(pybreaker.CircuitBreaker, name)
        monkeypatch.setattr(pybreaker.CircuitBreaker, name, forbidden)
    for name in ("call", "call_async", "_handle_success", "_handle_error"):
        monkeypatch.setattr(pybreaker.CircuitBreakerState, name, forbidden)

    await _drive(FakeClock())
