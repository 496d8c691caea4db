"""Carrick with all policies that let a call through, on both sides, and telemetry that samples 1 % of the calls."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carrick import (
    BreakerOptions,
    ConcurrencyOptions,
    Context,
    FallbackOptions,
    HedgeOptions,
    IdempotencyLevel,
    MethodPolicy,
    MethodRoute,
    Priority,
    RateLimitOptions,
    RetryOptions,
    SheddingOptions,
    ThrottleOptions,
)
from carrick.rpc import Channel, Server
from carrick.telemetry.tracing import OpenTelemetry
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.sides.work import GET_ORDER, ORDER, TIMEOUT, Call

SAMPLED = 0.01
EVERYTHING = replace(
    GET_ORDER,
    idempotency=IdempotencyLevel.NO_SIDE_EFFECTS,
    policy=MethodPolicy(
        timeout=TIMEOUT,
        attempt_timeout=4.0,
        min_remaining=0.001,
        priority=Priority.CRITICAL,
        retry=RetryOptions(),
        hedge=HedgeOptions(quantile=0.9999),  # what it costs to watch; hedges are calls of their own
        breaker=BreakerOptions(slow_after=1.0),
        concurrency=ConcurrencyOptions(adaptive=True),
        throttle=ThrottleOptions(),
        fallback=FallbackOptions(value=GetOrderResponse()),
        shedding=SheddingOptions(adaptive=True, max_loop_lag=1.0),
        rate_limit=RateLimitOptions(per_second=1e6, burst=1_000_000),
    ),
)


class Orders:
    """The servicer."""

    async def get_order(self, request: GetOrderRequest, ctx: Context) -> GetOrderResponse:
        """Answer."""
        return ORDER

    def routes(self) -> tuple[MethodRoute[GetOrderRequest, GetOrderResponse], ...]:
        """Return the one route."""
        return (MethodRoute(EVERYTHING, self.get_order),)


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Serve with all policies."""
    async with sampling() as telemetry, Server(Orders(), instruments=telemetry) as carrick_server:
        yield carrick_server.address


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Call]:
    """Call with all policies."""
    async with (
        sampling() as telemetry,
        Channel(address, instruments=telemetry, uniform=random.Random(1).random) as channel,
    ):
        yield channel.unary(EVERYTHING)


def sampling() -> OpenTelemetry:
    """Return telemetry that records one call in a hundred, in batches, and keeps them here."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return OpenTelemetry(provider, sample_ratio=SAMPLED)
