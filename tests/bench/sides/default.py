"""Carrick with its default policies, and telemetry that samples none of the calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.sdk.trace import TracerProvider

from carrick.rpc import Channel, Server
from carrick.telemetry.tracing import OpenTelemetry
from tests.bench.sides.work import GET_ORDER, Call, Orders


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Serve with spans, health and reflection."""
    async with unsampled() as telemetry, Server(Orders(), instruments=telemetry) as carrick_server:
        yield carrick_server.address


@asynccontextmanager
async def client(address: str) -> AsyncIterator[Call]:
    """Call with timeout, retry, breaker and spans."""
    async with unsampled() as telemetry, Channel(address, instruments=telemetry) as channel:
        yield channel.unary(GET_ORDER)


def unsampled() -> OpenTelemetry:
    """Return telemetry of which nothing is recorded."""
    return OpenTelemetry(TracerProvider(), sample_ratio=0.0)
