"""Calls that a server handles, cancelled at every step: so gRPC does when a caller goes away, or at the deadline."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from carrick import (
    Context,
    IdempotencyOptions,
    KeyRule,
    MethodKind,
    MethodPolicy,
    MethodSpec,
    RateLimitOptions,
    Service,
    SheddingOptions,
)
from carrick.claim import Claim, Claimed, ClaimOutcome
from carrick.policy.concurrency import ConcurrencyState
from carrick.policy.shedding import shedding, shedding_state
from carrick.stacks import server_stack
from carrick.stream import close
from carrick.testing import FakeClock
from tests.unit.calls import turns
from tests.unit.streams import Item, item, items, numbers, streaming

MOST_STEPS = 200
SHEDDING = SheddingOptions(limit=1, max_queued=3, max_queue_time=5.0)
POLICY = MethodPolicy(rate_limit=RateLimitOptions(burst=1000))


class Claims:
    """Gives every key after a step or two, and counts those that were neither given back nor fulfilled."""

    def __init__(self) -> None:
        self.held = 0

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Give the key; a store that is cancelled meanwhile gives it back itself."""
        await asyncio.sleep(0)
        self.held += 1
        return Claimed(Claim(method, key, "token"))

    async def release(self, claim: Claim) -> None:
        """Take it back, which takes steps too."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.held -= 1

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Hold it longer."""
        await asyncio.sleep(0)
        return True

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Record an error."""
        return True

    async def purge(self, most: int = 500) -> int:
        """Have nothing to remove."""
        return 0


class Handling:
    """A server of one method, with one place, which another call holds for a while."""

    def __init__(self, kind: MethodKind, *, keyed: bool) -> None:
        policy = POLICY
        if keyed:
            policy = POLICY.overridden_by(MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.REQUIRED)))
        self.spec = streaming(kind, policy=policy)
        self.clock = FakeClock()
        self.claims = Claims()
        self.state: ConcurrencyState = shedding_state(SHEDDING)
        self.running = 0
        shed = shedding(SHEDDING, self.state, clock=self.clock, uniform=lambda: 0.5, observe=lambda what: None)
        self.service: Service = server_stack(
            self._handle, self.spec, clock=self.clock, claims=self.claims, instruments=None, shed=shed
        )

    async def _handle(self, request: Any, ctx: Context) -> Any:
        self.running += 1
        try:
            if self.spec.streams_requests:
                await numbers(request)
            for _ in range(3):
                await asyncio.sleep(0)
            if ctx.call.claim is not None:
                ctx.call.claim.fulfil()
                self.claims.held -= 1
        finally:
            self.running -= 1
        return self._replies() if self.spec.streams_responses else item(1)

    async def _replies(self) -> AsyncIterator[Item]:
        self.running += 1
        try:
            for number in range(2):
                await asyncio.sleep(0)
                yield item(number)
        finally:
            self.running -= 1

    async def call(self, deadline: float | None = None) -> None:
        """Have a call handled, as a server does."""
        request = items(3) if self.spec.streams_requests else item(0)
        reply = await self.service(request, Context(self.spec, key="k" if self.spec.keyed else None, deadline=deadline))
        if self.spec.streams_responses:
            try:
                await numbers(reply)
            finally:
                await close(reply)


CASES = [(kind, False) for kind in MethodKind] + [(MethodKind.UNARY, True)]


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize(("kind", "keyed"), CASES)
async def test_a_handled_call_that_is_cancelled_leaves_nothing(
    kind: MethodKind, keyed: bool, queued: bool, bounded: bool
) -> None:
    """No place, no waiter, no claim, no handler and no task, at whatever step it is cancelled, in the queue too."""
    for steps in range(MOST_STEPS):
        handling = Handling(kind, keyed=keyed)
        before = asyncio.all_tasks()
        deadline = handling.clock.monotonic() + 3.0 if bounded else None
        other = asyncio.ensure_future(handling.call()) if queued else None
        await asyncio.sleep(0)
        call = asyncio.ensure_future(handling.call(deadline))
        for _ in range(steps):
            await asyncio.sleep(0)
        was_running = not call.done()
        call.cancel()
        await asyncio.wait([each for each in (call, other) if each is not None])
        await turns()
        assert call.cancelled() or not was_running, f"step {steps}"
        assert (handling.state.in_flight, handling.state.queued) == (0, 0), f"step {steps}: a place is lost"
        assert handling.claims.held == 0, f"step {steps}: a claim is held"
        assert handling.running == 0, f"step {steps}: a handler runs"
        assert asyncio.all_tasks() == before, f"step {steps}: tasks are left"
        if not was_running:
            assert steps > 3
            return
    pytest.fail("the call did not come to its end")
