"""Pairs of client policies that meet: which stands outside which, by what it does."""

import asyncio
from typing import Any

import pytest

from carrick import (
    BreakerOptions,
    CacheOptions,
    CarrickError,
    Code,
    DeadlineError,
    FallbackOptions,
    HedgeOptions,
    MethodPolicy,
    MethodSpec,
    RejectedError,
    RemoteError,
    RetryBudgetOptions,
    RetryOptions,
)
from carrick.policy.breaker import BreakerState
from carrick.policy.budget import RetryBudget
from carrick.rpc.balancer import Balancer
from carrick.rpc.endpoint import Endpoint
from carrick.stacks import endpoint_stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.unit.calls import READ, Seen, client, first_attempt

ASKED = GetOrderRequest(order_id="o-1")
SUBSTITUTE = GetOrderResponse(order_id="substitute")
RETRY = RetryOptions(max_attempts=3, initial_backoff=0.1, max_backoff=0.1)
HEDGE = HedgeOptions(delay=1.0)
BREAKER = BreakerOptions(failure_ratio=0.5, min_calls=2, window=10, open_for=5, trials=1)
Outcome = Code | float | None


class Endpoints:
    """Two endpoints behind a whole client stack. Each does with an attempt what its script says.

    A code is the peer's answer, a number the seconds that a good answer takes, None an answer that never comes.
    """

    def __init__(
        self, policy: MethodPolicy, first: list[Outcome], second: list[Outcome] | None = None, *, autojump: bool = True
    ) -> None:
        self.clock = FakeClock(autojump=autojump)
        self.seen = Seen()
        self.received: list[str] = []
        self.ended: list[str] = []
        self.breakers: dict[str, BreakerState] = {}
        self.budget = RetryBudget(policy.retry_budget or RetryBudgetOptions())
        scripts = {"a": first} if second is None else {"a": first, "b": second}
        self.balancer = Balancer(
            [self._endpoint(name, policy, script) for name, script in scripts.items()], lambda: 0.0
        )
        self.service = client(self.balancer, policy, of=READ, clock=self.clock, budget=self.budget, observe=self.seen)

    def _endpoint(self, name: str, policy: MethodPolicy, script: list[Outcome]) -> Endpoint:
        state = BreakerState(policy.breaker) if policy.breaker else None
        if state is not None:
            self.breakers[name] = state

        async def transport(request: Any, ctx: Any) -> GetOrderResponse:
            ctx.attempt.sent = True
            self.received.append(name)
            outcome = script.pop(0) if len(script) > 1 else script[0]
            try:
                return await self._answer(name, outcome, ctx)
            finally:
                self.ended.append(name)

        service = endpoint_stack(transport, state, None, endpoint=name, clock=self.clock, observe=self.seen)
        return Endpoint(name, service, lambda: state is None or state.admits(self.clock.monotonic()))

    async def _answer(self, name: str, outcome: Outcome, ctx: Any) -> GetOrderResponse:
        if isinstance(outcome, Code) and outcome is not Code.OK:
            raise RemoteError(outcome, f"from {name}", attempt=ctx.attempt)
        remaining = ctx.remaining_for_response(self.clock.monotonic())
        seconds = 0.0 if isinstance(outcome, Code) else outcome
        if seconds is None or (remaining is not None and seconds > remaining):
            await (asyncio.Event().wait() if remaining is None else self.clock.sleep(remaining))
            raise DeadlineError(f"late at {name}", attempt=ctx.attempt)
        await self.clock.sleep(seconds)
        return GetOrderResponse(order_id=name)

    async def call(self, *, timeout: float | None = None, of: MethodSpec[Any, Any] = READ) -> str:
        """Make a call, and return the name of the endpoint that answered."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        reply = await self.service(ASKED, first_attempt(of, deadline=deadline))
        return str(reply.order_id)

    async def after(self, seconds: float) -> None:
        """Let time pass, and everything happen that then does."""
        await turns()
        self.clock.advance(seconds)
        await turns()


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_fallback_stands_outside_retry() -> None:
    """The substitute comes after all attempts, not in place of the second."""
    endpoints = Endpoints(MethodPolicy(retry=RETRY, fallback=FallbackOptions(value=SUBSTITUTE)), [Code.UNAVAILABLE])
    assert await endpoints.call() == "substitute"
    assert endpoints.received == ["a", "a", "a"]


async def test_fallback_stands_outside_the_breaker() -> None:
    """An open circuit is answered with the substitute, and nothing is sent."""
    endpoints = Endpoints(MethodPolicy(breaker=BREAKER, fallback=FallbackOptions(value=SUBSTITUTE)), [Code.UNAVAILABLE])
    for _ in range(5):
        assert await endpoints.call() == "substitute"
    assert endpoints.received == ["a", "a"]


async def test_fallback_stands_outside_the_cache() -> None:
    """A substitute is not kept as a reply: when the peer is back it is asked."""
    endpoints = Endpoints(
        MethodPolicy(cache=CacheOptions(ttl=60.0), fallback=FallbackOptions(value=SUBSTITUTE)),
        [Code.UNAVAILABLE, Code.OK],
    )
    assert [await endpoints.call() for _ in range(3)] == ["substitute", "a", "a"]
    assert endpoints.received == ["a", "a"]


async def test_a_stale_reply_goes_before_the_fallback() -> None:
    """The cache knows a real answer, though an old one."""
    endpoints = Endpoints(
        MethodPolicy(cache=CacheOptions(ttl=1.0, stale_if_error=60.0), fallback=FallbackOptions(value=SUBSTITUTE)),
        [Code.OK, Code.UNAVAILABLE],
    )
    assert await endpoints.call() == "a"
    endpoints.clock.advance(2)
    assert await endpoints.call() == "a"


async def test_the_cache_stands_outside_retry_and_budget() -> None:
    """Who shares a call shares its retries; an answer from the cache is no call that pays for retries."""
    endpoints = Endpoints(MethodPolicy(cache=CacheOptions(ttl=60.0), retry=RETRY), [Code.UNAVAILABLE, 0.5])
    replies = await asyncio.gather(*(endpoints.call() for _ in range(5)))
    assert replies == ["a"] * 5
    await endpoints.call()
    assert endpoints.received == ["a", "a"]
    assert endpoints.budget.counts(endpoints.clock.monotonic()) == (1, 1)


async def test_retry_stands_outside_the_hedge() -> None:
    """When a try and its hedge have both failed, the next try is hedged again; hedges are not counted as tries."""
    clock, kinds = FakeClock(), list[str]()

    async def failing(request: Any, ctx: Any) -> Any:
        ctx.attempt.sent = True
        kinds.append(ctx.attempt.kind.value)
        await clock.sleep(2.0)
        raise RemoteError(Code.UNAVAILABLE, "late and bad", attempt=ctx.attempt)

    service = client(failing, MethodPolicy(hedge=HEDGE, retry=RETRY), of=READ, clock=clock)
    call = asyncio.ensure_future(service(ASKED, first_attempt(READ)))
    while not call.done():
        await turns()
        clock.advance(1.0)
    with pytest.raises(RemoteError):
        await call
    assert kinds == ["first", "hedge", "retry", "hedge", "retry", "hedge"]


async def test_hedges_and_retries_share_the_budget() -> None:
    """A hedge that was sent leaves one retry less."""
    policy = MethodPolicy(
        hedge=HEDGE, retry=RETRY, retry_budget=RetryBudgetOptions(ratio=0.0, per_second=0.1, window=10.0)
    )
    endpoints = Endpoints(policy, [2.0], [Code.UNAVAILABLE], autojump=False)
    call = asyncio.ensure_future(endpoints.call())
    await endpoints.after(1.0)
    await endpoints.after(1.0)
    assert await call in ("a", "b")
    assert endpoints.budget.counts(endpoints.clock.monotonic()) == (0 + 1, 1)
    assert not endpoints.budget.withdraw(endpoints.clock.monotonic())


async def test_a_hedge_goes_to_another_endpoint() -> None:
    """The balancer stands inside the hedge, and picks what was not tried."""
    endpoints = Endpoints(MethodPolicy(hedge=HEDGE), [None], [None], autojump=False)
    call = asyncio.ensure_future(endpoints.call())
    await endpoints.after(1.0)
    assert sorted(endpoints.received) == ["a", "b"]
    call.cancel()
    await asyncio.wait((call,))


async def test_a_hedges_loser_says_nothing_to_the_breaker() -> None:
    """A cancelled attempt is neither a failure nor a success of its endpoint."""
    endpoints = Endpoints(MethodPolicy(hedge=HEDGE, breaker=BREAKER), [None, None, None, 0.0], [0.0], autojump=False)
    for _ in range(3):
        call = asyncio.ensure_future(endpoints.call())
        await endpoints.after(1.0)
        await endpoints.after(1.0)
        await call
    now = endpoints.clock.monotonic()
    assert endpoints.breakers["a"].counts(now)[0] == endpoints.received.count("a") - 3
    assert all(state.state == "closed" for state in endpoints.breakers.values())


async def test_an_attempts_timeout_counts_for_the_breaker() -> None:
    """An endpoint that does not answer in the time of an attempt is a failing one."""
    policy = MethodPolicy(attempt_timeout=1.0, retry=RETRY, breaker=BREAKER)
    endpoints = Endpoints(policy, [None])
    with pytest.raises(CarrickError):
        await endpoints.call(timeout=60.0)
    assert endpoints.breakers["a"].state == "open"
    assert endpoints.received == ["a", "a"]


async def test_each_attempt_has_its_own_time() -> None:
    """Inside retry: three attempts of a second each, and the waits between them."""
    endpoints = Endpoints(MethodPolicy(attempt_timeout=1.0, retry=RETRY), [None])
    begun = endpoints.clock.monotonic()
    with pytest.raises(DeadlineError, match="late at a"):
        await endpoints.call(timeout=60.0)
    assert endpoints.clock.monotonic() - begun == pytest.approx(3.1)
    assert endpoints.received == ["a"] * 3


async def test_the_calls_deadline_is_over_all_attempts() -> None:
    """The attempt that it cuts short is the last."""
    endpoints = Endpoints(MethodPolicy(attempt_timeout=1.0, retry=RETRY), [None])
    begun = endpoints.clock.monotonic()
    with pytest.raises(DeadlineError):
        await endpoints.call(timeout=1.5)
    assert endpoints.clock.monotonic() - begun == pytest.approx(1.5)
    assert endpoints.received == ["a"] * 2


async def test_an_attempt_that_cannot_finish_after_the_backoff_is_not_sent() -> None:
    """What is refused for lack of time is checked for each attempt, and ends the call."""
    endpoints = Endpoints(MethodPolicy(min_remaining=0.5, retry=RETRY), [Code.UNAVAILABLE])
    with pytest.raises(DeadlineError, match=r"was not sent: it needs 0\.5 s"):
        await endpoints.call(timeout=0.52)
    assert endpoints.received == ["a"]


async def test_refusals_by_an_open_circuit_cost_no_budget() -> None:
    """The calls that wait for a circuit to half-open do not use up the retries of the others."""
    policy = MethodPolicy(retry=RETRY, breaker=BREAKER)
    endpoints = Endpoints(policy, [Code.UNAVAILABLE])
    with pytest.raises(RejectedError):
        await endpoints.call()
    _, spent = endpoints.budget.counts(endpoints.clock.monotonic())
    with pytest.raises(RejectedError):
        await endpoints.call()
    assert endpoints.budget.counts(endpoints.clock.monotonic())[1] == spent


async def test_without_budget_the_call_ends_with_its_own_error() -> None:
    """Not with one about budgets."""
    policy = MethodPolicy(retry=RETRY, retry_budget=RetryBudgetOptions(ratio=0.0, per_second=0.0))
    endpoints = Endpoints(policy, [Code.UNAVAILABLE])
    with pytest.raises(RemoteError, match="from a"):
        await endpoints.call()
    assert endpoints.received == ["a"]
    assert endpoints.seen.names == ["RetryNotMade"]
