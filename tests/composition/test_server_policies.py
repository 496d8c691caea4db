"""Server policies that meet each other."""

import asyncio
from typing import Any

import pytest

from carrick import (
    CarrickError,
    Code,
    Context,
    DeadlineError,
    Filter,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    RateLimitOptions,
    RejectedError,
    Service,
    SheddingOptions,
)
from carrick.claim import Claim, Claimed, ClaimOutcome
from carrick.method import MethodSpec
from carrick.stacks import server_stack
from carrick.testing import FakeClock
from tests.unit.calls import KEYED, REPLY, REQUEST, Hanging, Scripted, method


class Records:
    """A claim store that gives every key, and counts."""

    def __init__(self) -> None:
        self.claimed = 0
        self.released = 0

    async def claim(self, method: MethodSpec[Any, Any], key: str, fingerprint: bytes, lease: float) -> ClaimOutcome:
        """Give the key."""
        self.claimed += 1
        return Claimed(Claim(method, key, "token"))

    async def release(self, claim: Claim) -> None:
        """Take it back."""
        self.released += 1

    async def renew(self, claim: Claim, lease: float) -> bool:
        """Hold it longer."""
        return True

    async def refuse(self, claim: Claim, status: bytes) -> bool:
        """Record an error."""
        return True

    async def purge(self, most: int = 500) -> int:
        """Have nothing to remove."""
        return 0


async def fulfilling(request: Any, ctx: Context) -> Any:
    """End as a handler does whose transaction has committed."""
    assert ctx.call.claim is not None
    ctx.call.claim.fulfil()
    return REPLY


async def test_expired_work_claims_no_key() -> None:
    """The deadline stands before idempotency: what is not run leaves no claim behind."""
    clock, records, handler = FakeClock(), Records(), Scripted()
    service = server_stack(handler, KEYED, clock=clock, claims=records, instruments=None)
    with pytest.raises(DeadlineError):
        await service(REQUEST, Context(KEYED, key="k", deadline=clock.monotonic()))
    assert (records.claimed, handler.calls) == (0, 0)


async def test_who_may_not_call_claims_no_key() -> None:
    """The user's own filters stand before idempotency: a refusal of theirs leaves no claim, and gets no replay."""
    records = Records()

    async def refuse(request: Any, ctx: Context, service: Service) -> Any:
        raise CarrickError(Code.PERMISSION_DENIED, "not you")

    service = server_stack(fulfilling, KEYED, clock=FakeClock(), claims=records, instruments=None, extra=[refuse])
    with pytest.raises(CarrickError, match="not you"):
        await service(REQUEST, Context(KEYED, key="k"))
    assert (records.claimed, records.released) == (0, 0)


async def test_a_fulfilled_claim_is_kept() -> None:
    """A handler that ended well keeps its record."""
    records = Records()
    service = server_stack(fulfilling, KEYED, clock=FakeClock(), claims=records, instruments=None)
    assert await service(REQUEST, Context(KEYED, key="k")) == REPLY
    assert (records.claimed, records.released) == (1, 0)


FULL = MethodPolicy(
    shedding=SheddingOptions(limit=1),
    rate_limit=RateLimitOptions(per_second=0.001, burst=1),
    idempotency=IdempotencyOptions(key=KeyRule.REQUIRED),
)
EVERYTHING = method("Everything", policy=FULL)


def limited(handler: Service, records: Records, clock: FakeClock, *extra: Filter) -> Service:
    """Return a server's stack with shedding, a rate and idempotency."""
    return server_stack(handler, EVERYTHING, clock=clock, claims=records, instruments=None, extra=extra)


async def test_who_is_shed_uses_up_no_rate_and_claims_no_key() -> None:
    """Shedding stands before all that costs or counts."""
    clock, records, hanging = FakeClock(), Records(), Hanging()
    service = limited(hanging, records, clock)
    first = asyncio.ensure_future(service(REQUEST, Context(EVERYTHING, key="1")))
    await hanging.entered.wait()
    for number in range(3):
        with pytest.raises(RejectedError, match="turned away by an overloaded server"):
            await service(REQUEST, Context(EVERYTHING, key=str(number)))
    assert records.claimed == 1
    first.cancel()
    await asyncio.wait((first,))
    with pytest.raises(RejectedError, match="calls a second"):
        await service(REQUEST, Context(EVERYTHING, key="4"))


async def test_who_comes_too_soon_claims_no_key_and_gives_the_place_back() -> None:
    """The rate limit stands before idempotency, and inside shedding."""
    clock, records = FakeClock(), Records()
    service = limited(fulfilling, records, clock)
    assert await service(REQUEST, Context(EVERYTHING, key="1")) == REPLY
    for _ in range(3):
        with pytest.raises(RejectedError):
            await service(REQUEST, Context(EVERYTHING, key="2"))
    assert records.claimed == 1
    clock.advance(1000.0)
    assert await service(REQUEST, Context(EVERYTHING, key="2")) == REPLY


async def test_who_may_not_call_uses_up_nobodys_rate() -> None:
    """The user's own filters stand before the rate limit."""
    clock, records, allowed = FakeClock(), Records(), False

    async def guard(request: Any, ctx: Context, service: Service) -> Any:
        if not allowed:
            raise CarrickError(Code.PERMISSION_DENIED, "not you")
        return await service(request, ctx)

    service = limited(fulfilling, records, clock, guard)
    for _ in range(3):
        with pytest.raises(CarrickError, match="not you"):
            await service(REQUEST, Context(EVERYTHING, key="1"))
    allowed = True
    assert await service(REQUEST, Context(EVERYTHING, key="1")) == REPLY


async def test_expired_work_takes_no_place() -> None:
    """The deadline stands before shedding: what is not run turns nobody away."""
    clock, records = FakeClock(), Records()
    service = limited(fulfilling, records, clock)
    with pytest.raises(DeadlineError):
        await service(REQUEST, Context(EVERYTHING, key="1", deadline=clock.monotonic()))
    assert await service(REQUEST, Context(EVERYTHING, key="1")) == REPLY
