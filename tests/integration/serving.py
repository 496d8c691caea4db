"""A server of one streaming method, handlers and requests that go on for ever, and waiting for what must come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from carrick import (
    Context,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    MethodRoute,
    MethodSpec,
    RetryOptions,
)
from carrick.rpc import Channel, Server
from tests.unit.streams import Item, item, streaming

QUICK = MethodPolicy(retry=RetryOptions(initial_backoff=0.001))
MANY = 1000
PATIENCE = 10.0

UPLOAD = streaming(MethodKind.CLIENT_STREAM)
WATCH = streaming(MethodKind.SERVER_STREAM)
TALK = streaming(MethodKind.BIDI_STREAM)
REPEATABLE_UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
REPEATABLE_WATCH = streaming(MethodKind.SERVER_STREAM, idempotency=IdempotencyLevel.NO_SIDE_EFFECTS)
REPEATABLE_TALK = streaming(MethodKind.BIDI_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)


class Routes:
    """A servicer of one method."""

    def __init__(self, spec: MethodSpec[Item, Item], handler: Any) -> None:
        self._route = MethodRoute(spec, handler)

    def routes(self) -> tuple[MethodRoute[Item, Item], ...]:
        """Return the one route."""
        return (self._route,)


@asynccontextmanager
async def served(spec: MethodSpec[Item, Item], handler: Any, **options: Any) -> AsyncIterator[Channel]:
    """Serve one method, and give a channel to it."""
    async with Server(Routes(spec, handler)) as server, Channel(server.address, **options) as channel:
        yield channel


async def until(event: asyncio.Event) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


class Handling:
    """A handler that streams for ever, and tells when it began and when it was ended."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.yielded = 0

    async def watch(self, request: Item, ctx: Context) -> AsyncIterator[Item]:
        """Yield as fast as the peer takes it."""
        self.begun.set()
        try:
            while True:
                self.yielded += 1
                yield request
        finally:
            self.ended.set()

    async def hang(self, request: Any, ctx: Context) -> AsyncIterator[Item]:
        """Yield nothing."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield item(0)
        finally:
            self.ended.set()


class Source:
    """Requests that go on for ever, or until they are to pause; it tells when they were closed."""

    def __init__(self, pause_after: int | None = None, size: int = 0) -> None:
        self.asked = 0
        self.closed = asyncio.Event()
        self._pause_after = pause_after
        self._size = size

    async def __call__(self) -> AsyncIterator[Item]:
        """Yield the requests."""
        try:
            while self.asked != self._pause_after:
                self.asked += 1
                yield item(self.asked, self._size)
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def until_steady(value: Callable[[], int]) -> None:
    """Wait until a number above 0 has not changed for a while."""
    async with asyncio.timeout(PATIENCE):
        seen, since = -1, 0
        while since < 20:
            await asyncio.sleep(0.01)
            since = since + 1 if value() == seen and seen > 0 else 0
            seen = value()
