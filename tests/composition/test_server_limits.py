"""Shedding and rate limits among a server's other policies."""

from collections.abc import Sequence
from typing import Any

import pytest

from carrick import (
    CarrickError,
    Code,
    Context,
    DeadlineError,
    MethodPolicy,
    RateLimitOptions,
    RejectedError,
    Service,
    SheddingOptions,
)
from carrick.policy.shedding import shedding, shedding_state
from carrick.service import Filter
from carrick.stacks import server_stack
from carrick.testing import FakeClock
from tests.composition.test_server_policies import Records, fulfilling
from tests.unit.calls import KEYED, REPLY, REQUEST, Scripted, Seen, half, method

NONE = SheddingOptions(limit=1)
ONE_A_SECOND = RateLimitOptions(per_second=1.0, burst=1)


class Setup:
    """A server's stack of a method, with a limit of one call for the whole server, and a record of its observations."""

    def __init__(self, policy: MethodPolicy, handler: Service, extra: Sequence[Filter] = ()) -> None:
        self.clock, self.seen, self.records = FakeClock(), Seen(), Records()
        self.all = shedding_state(NONE)
        self.spec = method("Limited", policy=policy)
        self.service = server_stack(
            handler,
            self.spec,
            clock=self.clock,
            claims=self.records,
            instruments=None,
            extra=extra,
            shed=shedding(NONE, self.all, clock=self.clock, uniform=half, observe=self.seen),
            uniform=half,
            observe=self.seen,
        )

    async def call(self, key: str | None = None, deadline: float | None = None) -> Any:
        """Handle a call."""
        return await self.service(REQUEST, Context(self.spec, key=key, deadline=deadline))


async def refuse(request: Any, ctx: Context, service: Service) -> Any:
    """Let nobody in."""
    raise CarrickError(Code.PERMISSION_DENIED, "not you")


async def test_expired_work_is_not_counted_as_shed() -> None:
    """Its deadline is looked at first."""
    setup = Setup(MethodPolicy(), Scripted())
    setup.all.acquire(0.0, None, None)
    with pytest.raises(DeadlineError):
        await setup.call(deadline=setup.clock.monotonic())
    assert setup.seen.names == []


async def test_shedding_stands_before_the_users_filters() -> None:
    """In overload a call is turned away without finding out who makes it."""
    setup = Setup(MethodPolicy(), Scripted(), extra=[refuse])
    with pytest.raises(CarrickError, match="not you"):
        await setup.call()
    setup.all.acquire(0.0, None, None)
    with pytest.raises(RejectedError, match="overloaded"):
        await setup.call()


async def test_who_may_not_call_uses_up_nobodys_rate() -> None:
    """The user's filters stand before the rate limit."""
    setup = Setup(MethodPolicy(rate_limit=ONE_A_SECOND), Scripted(), extra=[refuse])
    for _ in range(3):
        with pytest.raises(CarrickError, match="not you"):
            await setup.call()
    assert setup.seen.names == []


async def test_a_call_over_the_rate_claims_no_key_and_holds_no_place() -> None:
    """Idempotency is nearest to the work."""
    setup = Setup(MethodPolicy(rate_limit=ONE_A_SECOND, idempotency=KEYED.policy.idempotency), fulfilling)
    assert await setup.call("first") == REPLY
    with pytest.raises(RejectedError, match="calls a second"):
        await setup.call("second")
    assert setup.records.claimed == 1
    assert setup.all.in_flight == 0


async def test_a_methods_own_limit_stands_behind_the_servers() -> None:
    """What it turns away has given back its place among the calls of the server."""
    inside: list[int] = []
    setup: Setup

    async def handler(request: Any, ctx: Context) -> Any:
        inside.append(setup.all.in_flight)
        return REPLY

    setup = Setup(MethodPolicy(shedding=SheddingOptions(limit=5, max_loop_lag=1.0)), handler)
    assert await setup.call() == REPLY
    assert inside == [1]
    assert setup.all.in_flight == 0


async def test_a_switched_off_limit_is_not_in_the_stack() -> None:
    """``enabled=False`` takes away what a contract asks for."""
    setup = Setup(
        MethodPolicy(
            rate_limit=RateLimitOptions(per_second=0.001, burst=1, enabled=False),
            shedding=SheddingOptions(limit=1, enabled=False),
        ),
        Scripted(),
    )
    assert [await setup.call() for _ in range(3)] == [REPLY] * 3
