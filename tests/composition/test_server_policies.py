"""Server policies that meet each other."""

from typing import Any

import pytest

from carrick import CarrickError, Code, Context, DeadlineError, Service
from carrick.claim import Claim, Claimed, ClaimOutcome
from carrick.method import MethodSpec
from carrick.stacks import server_stack
from carrick.testing import FakeClock
from tests.unit.calls import KEYED, REPLY, REQUEST, Scripted


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
