"""What people put together today: grpc.aio, OpenTelemetry's interceptors, tenacity, pybreaker.

One call in a hundred is sampled, and its spans go nowhere.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from pybreaker import CircuitBreaker
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse
from tests.bench.sides import bare
from tests.bench.sides.work import Call

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Serve with OpenTelemetry's interceptor."""
    async with bare.server([aio_server_interceptor(tracer_provider=provider())]) as address:
        yield address


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Call]:
    """Call with OpenTelemetry's interceptors, inside a breaker, inside a retry."""
    breaker = CircuitBreaker(fail_max=20, reset_timeout=5)
    async with bare.client(address, aio_client_interceptors(tracer_provider=provider())) as invoke:

        async def call(request: GetOrderRequest) -> GetOrderResponse:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(passes),
                stop=stop_after_attempt(4),
                wait=wait_random_exponential(multiplier=0.05, max=1),
                reraise=True,
            ):
                with attempt, breaker.calling():
                    return await invoke(request)
            raise AssertionError

        yield call


def provider() -> TracerProvider:
    """Return what makes the spans."""
    return TracerProvider(sampler=ParentBasedTraceIdRatio(0.01))


def passes(error: BaseException) -> bool:
    """Say whether another attempt may go better."""
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in RETRIED
