"""Cache and coalescing on the client: an answer is asked for once, and given to all who ask for the same meanwhile."""

import asyncio
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from carrick.cancellation import cancelled, finish
from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, DeadlineError
from carrick.observe import FallbackUsed, Observer
from carrick.options import OUTAGES, CacheOptions, Priority
from carrick.service import Filter, Service

__all__ = ["ReplyStore", "cache", "request_key"]

_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class _Stored:
    reply: bytes
    at: float


class ReplyStore:
    """Encoded replies by key, in at most ``max_bytes``; those not asked for the longest go first. Pure.

    An entry counts with its reply and 200 bytes more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._stored: OrderedDict[bytes, _Stored] = OrderedDict()
        self.size = 0
        """Bytes taken."""

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, key: bytes, now: float, max_age: float) -> bytes | None:
        """Return the reply under a key unless it is older than ``max_age`` seconds."""
        stored = self._stored.get(key)
        if stored is None or now - stored.at > max_age:
            return None
        self._stored.move_to_end(key)
        return stored.reply

    def put(self, key: bytes, reply: bytes, now: float) -> None:
        """Keep a reply in place of an earlier one. One that has no room at all is not kept."""
        self._drop(key)
        if _size(reply) > self._room:
            return
        self._stored[key] = _Stored(reply, now)
        self.size += _size(reply)
        while self.size > self._room:
            self._drop(next(iter(self._stored)))

    def _drop(self, key: bytes) -> None:
        dropped = self._stored.pop(key, None)
        if dropped is not None:
            self.size -= _size(dropped.reply)


def _size(reply: bytes) -> int:
    return len(reply) + _OVERHEAD


def request_key(request: Message, ctx: Context) -> bytes:
    """Return what is the same for the same request with the same metadata, for the same tenant (BLAKE2b)."""
    whose = b""
    if ctx.metadata or ctx.tenant is not None:  # apart from the request, whose bytes may end with any others
        whose = hashlib.blake2b(repr((ctx.tenant, sorted(ctx.metadata, key=repr))).encode(), digest_size=32).digest()
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=32, key=whose).digest()


class _Flight:
    """One call on behalf of all who ask for the same thing. It lasts as long as one of them waits."""

    def __init__(self, call: asyncio.Task[bytes], deadline: float | None) -> None:
        self._call = call
        self._waiting = 0
        self.deadline = deadline

    async def land(self, left: Callable[[], float | None], clock: Clock) -> bool:
        """Wait for the call's end; false when ``left()`` seconds, the waiting call's own, were over before."""
        self._waiting += 1
        try:
            return await self._within(left(), clock)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._call.done():
                self._call.cancel()
                await finish(_ended(self._call))

    def reply(self) -> bytes:
        """Return what the call ended with, or raise it: for who made it."""
        return self._call.result()

    def shared_reply(self) -> bytes:
        """Return what the call ended with, or raise a copy of it, for who joined.

        Raised in several tasks, one error would get the tracebacks and contexts of them all.
        """
        if not self._call.cancelled() and isinstance(error := self._call.exception(), CarrickError):
            raise copy.copy(error) from error.__cause__
        return self._call.result()

    def heard(self) -> None:
        """Take note of the call's error, which nobody may be left to hear of."""
        if not self._call.cancelled():
            self._call.exception()

    async def _within(self, seconds: float | None, clock: Clock) -> bool:
        if seconds is None:
            await asyncio.wait((self._call,))
            return True
        late = asyncio.timeout(None)
        loop = asyncio.get_running_loop()
        timer = clock.call_later(seconds, lambda: late.reschedule(loop.time()))
        try:
            async with late:
                await asyncio.wait((self._call,))
        except TimeoutError:
            return False
        finally:
            timer.cancel()
        return True


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait for the end of a task, whatever it is: nobody wants to know."""
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


def cache(options: CacheOptions, *, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that answers from earlier replies, and shares one call among those who ask for the same.

    A shared call is made with the context of who asked first, and goes on when that one is cancelled, until nobody
    waits for it. Calls of one priority share: a less important one may be turned away for what it is. Who has less time
    than the call waits no longer than its own deadline; who has more, makes a call of its own when the shared one ran
    out of time. When a call fails with a status that speaks against the peer, a reply stands in that is not older than
    ``ttl + stale_if_error``. Each caller gets a message, or an error, of its own.
    """
    store = ReplyStore(options.max_bytes if options.ttl or options.stale_if_error else 0)
    flights: dict[tuple[bytes, Priority | None], _Flight] = {}

    async def cached(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        key = request_key(request, ctx)
        reply = store.get(key, clock.monotonic(), options.ttl) if options.ttl else None
        if reply is None:
            try:
                reply = await shared(key, request, ctx, service)
            except CarrickError as error:
                reply = stale(key, ctx, error)
                if reply is None:
                    raise
        return ctx.method.decode_response(reply)

    async def shared(key: bytes, request: Any, ctx: Context, service: Service) -> bytes:
        place = key, ctx.priority
        while flight := flights.get(place):
            try:
                if await flight.land(lambda: ctx.remaining(clock.monotonic()), clock):
                    return flight.shared_reply()
            except DeadlineError:
                if not _later(ctx.deadline, flight.deadline):
                    raise
                forget(place, flight)
            except asyncio.CancelledError as error:
                if cancelled(error):
                    raise
                forget(place, flight)  # the last of those who waited for it was cancelled at this moment
            else:
                raise late(ctx)
        call = asyncio.create_task(fetch(key, request, ctx, service))
        flight = flights[place] = _Flight(call, ctx.deadline)
        call.add_done_callback(lambda _: ended(place, flight))
        await flight.land(lambda: None, clock)
        return flight.reply()

    def forget(place: tuple[bytes, Priority | None], flight: _Flight) -> None:
        if flights.get(place) is flight:
            del flights[place]

    def ended(place: tuple[bytes, Priority | None], flight: _Flight) -> None:
        forget(place, flight)
        flight.heard()

    async def fetch(key: bytes, request: Any, ctx: Context, service: Service) -> bytes:
        assert ctx.method is not None
        reply: bytes = ctx.method.encode_response(await service(request, ctx))
        store.put(key, reply, clock.monotonic())
        return reply

    def stale(key: bytes, ctx: Context, error: CarrickError) -> bytes | None:
        if not options.stale_if_error or error.code not in OUTAGES:
            return None
        reply = store.get(key, clock.monotonic(), options.ttl + options.stale_if_error)
        if reply is not None:
            assert ctx.method is not None
            observe(FallbackUsed(method=ctx.method.full_name, code=error.code.name, source="stale"))
        return reply

    def late(ctx: Context) -> DeadlineError:
        assert ctx.method is not None
        return DeadlineError(
            f"{ctx.method.full_name}: the deadline passed while an earlier call for the same was under way",
            attempt=ctx.attempt,
        )

    return cached


def _later(own: float | None, other: float | None) -> bool:
    return other is not None and (own is None or own > other)
