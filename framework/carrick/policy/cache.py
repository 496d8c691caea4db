"""Cache on the client: an answer is asked for once, and given to all who ask for the same soon after."""

from typing import Any

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError
from carrick.observe import FallbackUsed, Observer
from carrick.options import OUTAGES, CacheOptions
from carrick.policy.coalescing import Coalescing
from carrick.policy.reply_store import ReplyStore, request_key
from carrick.service import Filter, Service

__all__ = ["cache"]


def cache(options: CacheOptions, *, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that answers from earlier replies, and shares one call among those who ask for the same.

    Calls of one priority share (:class:`Coalescing`): a less important one may be turned away for what it is. When a
    call fails with a status that speaks against the peer, a reply stands in that is not older than
    ``ttl + stale_if_error``. Each caller gets a message, or an error, of its own.
    """
    store = ReplyStore(options.max_bytes if options.ttl or options.stale_if_error else 0)
    calls = Coalescing(clock)

    async def cached(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        key = request_key(request, ctx)
        reply = store.get(key, clock.monotonic(), options.ttl) if options.ttl else None
        if reply is None:
            try:
                reply = await calls.reply((key, ctx.priority), ctx, lambda: fetch(key, request, ctx, service))
            except CarrickError as error:
                reply = stale(key, ctx, error)
                if reply is None:
                    raise
        return ctx.method.decode_response(reply)

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

    return cached
