"""Pairs of client policies that meet: which stands outside which, by what it does."""

import asyncio
from typing import Any

import pytest

from carrick import (
    BreakerOptions,
    CacheOptions,
    CarrickError,
    Code,
    ConcurrencyOptions,
    DeadlineError,
    FallbackOptions,
    HedgeOptions,
    MethodPolicy,
    MethodSpec,
    RejectedError,
    RemoteError,
    RetryBudgetOptions,
    RetryOptions,
    ThrottleOptions,
)
from carrick.policy.breaker import BreakerState
from carrick.policy.budget import RetryBudget
from carrick.policy.concurrency import ConcurrencyState, concurrency_state
from carrick.policy.throttle import ThrottleState
from carrick.rpc.balancer import Balancer
from carrick.rpc.endpoint import Endpoint
from carrick.stacks import endpoint_stack
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.unit.calls import READ, Seen, client, first_attempt, turns

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
        self.limits: dict[str, ConcurrencyState] = {}
        self.throttling = ThrottleState(policy.throttle, lambda: 0.0) if policy.throttle else None
        self.budget = RetryBudget(policy.retry_budget or RetryBudgetOptions())
        scripts = {"a": first} if second is None else {"a": first, "b": second}
        endpoints = [self._endpoint(name, policy, script) for name, script in scripts.items()]
        self.service = client(
            Balancer(endpoints, lambda: 0.0),
            policy,
            of=READ,
            clock=self.clock,
            budget=self.budget,
            throttling=self.throttling,
            observe=self.seen,
        )

    def _endpoint(self, name: str, policy: MethodPolicy, script: list[Outcome]) -> Endpoint:
        state = BreakerState(policy.breaker) if policy.breaker else None
        if state is not None:
            self.breakers[name] = state
        limit = concurrency_state(policy.concurrency) if policy.concurrency else None
        if limit is not None:
            self.limits[name] = limit

        async def transport(request: Any, ctx: Any) -> GetOrderResponse:
            ctx.attempt.sent = True
            self.received.append(name)
            outcome = script.pop(0) if len(script) > 1 else script[0]
            try:
                return await self._answer(name, outcome, ctx)
            finally:
                self.ended.append(name)

        service = endpoint_stack(transport, state, limit, endpoint=name, clock=self.clock, observe=self.seen)

        def admits() -> bool:
            free = limit is None or limit.in_flight < limit.limit
            return free and (state is None or state.admits(self.clock.monotonic()))

        return Endpoint(name, service, admits)

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


async def test_a_full_endpoint_is_left_for_another_at_once() -> None:
    """A refusal by the limit was never sent: the call goes to the other endpoint, without a wait and without budget."""
    policy = MethodPolicy(retry=RETRY, concurrency=ConcurrencyOptions(limit=1), breaker=BREAKER)
    endpoints = Endpoints(policy, [None], [0.0], autojump=False)
    first = asyncio.ensure_future(endpoints.call())
    await turns()
    assert endpoints.received == ["a"]
    second = asyncio.ensure_future(endpoints.call())
    await endpoints.after(0.0)
    assert await second == "b"
    assert endpoints.budget.counts(endpoints.clock.monotonic())[1] == 0
    first.cancel()
    await asyncio.wait((first,))


async def test_a_refusal_by_the_limit_says_nothing_to_the_breaker() -> None:
    """The endpoint has not failed: there were only too many calls of our own."""
    policy = MethodPolicy(concurrency=ConcurrencyOptions(limit=1), breaker=BREAKER)
    endpoints = Endpoints(policy, [None], autojump=False)
    first = asyncio.ensure_future(endpoints.call())
    await turns()
    for _ in range(5):
        with pytest.raises(RejectedError, match="1 calls to a are under way"):
            await endpoints.call()
    assert endpoints.breakers["a"].counts(endpoints.clock.monotonic()) == (0, 0, 0)
    first.cancel()
    await asyncio.wait((first,))


async def test_the_breaker_stands_outside_the_limit() -> None:
    """What an open circuit refuses takes no place, and does not wait for one."""
    policy = MethodPolicy(breaker=BREAKER, concurrency=ConcurrencyOptions(limit=1, max_queued=10))
    endpoints = Endpoints(policy, [Code.UNAVAILABLE])
    for _ in range(2):
        with pytest.raises(RemoteError):
            await endpoints.call()
    with pytest.raises(RejectedError, match="circuit"):
        await endpoints.call()
    assert endpoints.limits["a"].in_flight == 0


async def test_the_wait_for_a_place_is_inside_an_attempts_time() -> None:
    """An attempt that waits in the queue until its own deadline has failed, and nothing is left of it."""
    policy = MethodPolicy(attempt_timeout=1.0, retry=RETRY, concurrency=ConcurrencyOptions(limit=1, max_queued=10))
    endpoints = Endpoints(policy, [None], autojump=False)
    calls = [asyncio.ensure_future(endpoints.call(timeout=60.0)) for _ in range(2)]
    for _ in range(16):
        await endpoints.after(0.5)
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, CarrickError) for error in errors)
    assert (endpoints.limits["a"].in_flight, endpoints.limits["a"].queued) == (0, 0)


async def test_a_hedges_loser_gives_its_place_back() -> None:
    """When the winner has answered, nothing is under way."""
    policy = MethodPolicy(hedge=HEDGE, concurrency=ConcurrencyOptions(limit=1))
    endpoints = Endpoints(policy, [None], [0.0], autojump=False)
    call = asyncio.ensure_future(endpoints.call())
    await endpoints.after(1.0)
    await endpoints.after(0.0)
    assert await call == "b"
    assert [limit.in_flight for limit in endpoints.limits.values()] == [0, 0]


async def test_the_throttle_stands_outside_retry_and_budget() -> None:
    """A call counts once, whatever its attempts; one that is throttled pays for no retry."""
    policy = MethodPolicy(retry=RETRY, throttle=ThrottleOptions(multiplier=1.0))
    endpoints = Endpoints(policy, [Code.UNAVAILABLE])
    with pytest.raises(RemoteError):
        await endpoints.call()
    assert endpoints.throttling is not None
    assert endpoints.throttling.demand(endpoints.clock.monotonic()) == (1, 0)
    with pytest.raises(RejectedError, match="was not sent: the service accepted 0 of the last"):
        await endpoints.call()
    assert endpoints.received == ["a"] * 3
    assert endpoints.budget.counts(endpoints.clock.monotonic())[0] == 1


async def test_the_fallback_stands_outside_the_throttle() -> None:
    """Who is throttled is answered with the substitute."""
    policy = MethodPolicy(throttle=ThrottleOptions(multiplier=1.0), fallback=FallbackOptions(value=SUBSTITUTE))
    endpoints = Endpoints(policy, [Code.UNAVAILABLE])
    assert [await endpoints.call() for _ in range(3)] == ["substitute"] * 3
    assert endpoints.received == ["a"]


async def test_refusals_by_an_open_circuit_do_not_throttle() -> None:
    """They were not sent: when the circuit closes, calls flow at once."""
    policy = MethodPolicy(throttle=ThrottleOptions(), breaker=BREAKER)
    endpoints = Endpoints(policy, [Code.OK])
    endpoints.breakers["a"].isolate()
    for _ in range(20):
        with pytest.raises(RejectedError, match="held open by hand"):
            await endpoints.call()
    assert endpoints.throttling is not None
    assert endpoints.throttling.demand(endpoints.clock.monotonic()) == (0, 0)


async def test_the_cache_stands_outside_the_throttle() -> None:
    """What is answered from the cache is neither counted nor refused."""
    policy = MethodPolicy(cache=CacheOptions(ttl=60.0), throttle=ThrottleOptions(multiplier=1.0))
    endpoints = Endpoints(policy, [Code.OK, Code.UNAVAILABLE])
    assert [await endpoints.call() for _ in range(5)] == ["a"] * 5
    assert endpoints.throttling is not None
    assert endpoints.throttling.demand(endpoints.clock.monotonic()) == (1, 1)


async def test_the_cache_stands_outside_the_hedge() -> None:
    """Who shares a call shares its hedge: there are two attempts, not two for each."""
    endpoints = Endpoints(MethodPolicy(cache=CacheOptions(), hedge=HEDGE), [None], [0.0], autojump=False)
    calls = [asyncio.ensure_future(endpoints.call()) for _ in range(5)]
    await endpoints.after(1.0)
    await endpoints.after(0.0)
    assert await asyncio.gather(*calls) == ["b"] * 5
    assert endpoints.received == ["a", "b"]


async def test_the_fallback_stands_outside_the_hedge() -> None:
    """The substitute comes when all attempts have failed, not with the first failure."""
    policy = MethodPolicy(hedge=HEDGE, fallback=FallbackOptions(value=SUBSTITUTE))
    endpoints = Endpoints(policy, [2.0], [Code.UNAVAILABLE], autojump=False)
    call = asyncio.ensure_future(endpoints.call())
    await endpoints.after(1.0)
    assert not call.done()
    await endpoints.after(1.0)
    assert await call == "a"


async def test_each_hedge_has_an_attempts_time_of_its_own() -> None:
    """The attempt's deadline stands inside the hedge: the second one has its whole time, counted from its own begin."""
    policy = MethodPolicy(hedge=HEDGE, attempt_timeout=3.0)
    endpoints = Endpoints(policy, [None], [None], autojump=False)
    call = asyncio.ensure_future(endpoints.call(timeout=60.0))
    await endpoints.after(1.0)
    await endpoints.after(2.0)
    assert endpoints.ended == ["a"]
    await endpoints.after(0.5)
    assert not call.done()
    await endpoints.after(0.5)
    with pytest.raises(DeadlineError, match="late at b"):
        await call
