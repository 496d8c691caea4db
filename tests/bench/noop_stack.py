"""What policies cost without a transport: a client's stack around a service that does nothing."""

import asyncio
import time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from carrick import (
    BreakerOptions,
    CacheOptions,
    ConcurrencyOptions,
    Context,
    FallbackOptions,
    HedgeOptions,
    IdempotencyLevel,
    MethodPolicy,
    MethodSpec,
    RetryBudgetOptions,
    RetryOptions,
    Service,
    ThrottleOptions,
)
from carrick.observe import ignore
from carrick.rpc import Channel
from carrick.telemetry.tracing import OpenTelemetry
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse

__all__ = ["EVERYTHING", "POLICIES", "measure"]

REQUEST = GetOrderRequest(order_id="o-1")
REPLY = GetOrderResponse(order_id="o-1")
EVERYTHING = MethodPolicy(
    timeout=5.0,
    attempt_timeout=4.0,
    min_remaining=0.001,
    retry=RetryOptions(),
    hedge=HedgeOptions(min_calls=10),
    breaker=BreakerOptions(slow_after=1.0),
    concurrency=ConcurrencyOptions(adaptive=True),
    throttle=ThrottleOptions(),
    fallback=FallbackOptions(value=REPLY),
)
"""All policies of a client that let a call through; a cache would answer it."""
POLICIES = {
    "no_policy": MethodPolicy(),
    "retry": MethodPolicy(retry=RetryOptions(), retry_budget=RetryBudgetOptions(enabled=False)),
    "retry_and_budget": MethodPolicy(retry=RetryOptions()),
    "hedge": MethodPolicy(hedge=HedgeOptions(min_calls=10), retry_budget=RetryBudgetOptions(enabled=False)),
    "breaker": MethodPolicy(breaker=BreakerOptions()),
    "breaker_slow_calls": MethodPolicy(breaker=BreakerOptions(slow_after=1.0)),
    "concurrency": MethodPolicy(concurrency=ConcurrencyOptions()),
    "concurrency_adaptive": MethodPolicy(concurrency=ConcurrencyOptions(adaptive=True)),
    "throttle": MethodPolicy(throttle=ThrottleOptions()),
    "attempt_timeout": MethodPolicy(attempt_timeout=4.0),
    "fallback": MethodPolicy(fallback=FallbackOptions(value=REPLY)),
    "cache_hit": MethodPolicy(cache=CacheOptions(ttl=3600.0)),
    "default": MethodPolicy(timeout=5.0, retry=RetryOptions(), breaker=BreakerOptions()),
    "noop_stack": EVERYTHING,
}


class _Nothing:
    """A transport that answers at once."""

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service that does nothing."""

        async def answer(request: Any, ctx: Context) -> GetOrderResponse:
            assert ctx.attempt is not None
            ctx.attempt.sent = True
            return REPLY

        return answer

    async def close(self) -> None:
        """Nothing is held."""


def measure(policy: MethodPolicy, *, rounds: int, calls: int, telemetry: bool) -> list[float]:
    """Return the microseconds a call of each round; with ``telemetry``, no call is sampled."""
    return asyncio.run(_measure(policy, rounds, calls, telemetry))


async def _measure(policy: MethodPolicy, rounds: int, calls: int, telemetry: bool) -> list[float]:
    method = MethodSpec(
        service="bench.v1.Orders",
        name="GetOrder",
        request=GetOrderRequest,
        response=GetOrderResponse,
        idempotency=IdempotencyLevel.NO_SIDE_EFFECTS,
        policy=policy,
    )
    instruments = OpenTelemetry(TracerProvider(), sample_ratio=0.0) if telemetry else None
    channel = Channel("nowhere:1", observe=ignore, instruments=instruments, connect=lambda target, clock: _Nothing())
    call = channel.unary(method)
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for _ in range(calls):
            await call(REQUEST)
        taken.append((time.perf_counter() - begun) / calls * 1e6)
    return taken[1:]  # the first one warmed up
