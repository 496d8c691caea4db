"""Fallback: when a call fails, an answer that is better than none."""

import inspect
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError
from carrick.method import MethodSpec
from carrick.observe import FallbackUsed, Observer
from carrick.options import FallbackOptions
from carrick.policy.reply_store import ReplyStore, request_key
from carrick.service import Filter, Service
from carrick.stream import copied

__all__ = ["fallback"]


def fallback(options: FallbackOptions, *, clock: Clock, observe: Observer) -> Filter:
    """Make a filter that answers failed calls: with the last good reply, or else with the value or the function's.

    Only where the status is one of ``options.codes``; without a substitute the error is raised. A function's own error
    takes the place of the call's. A stream of responses has its substitute when it fails before its first message.
    """
    store = ReplyStore(options.max_bytes) if options.last_good is not None else None

    async def substituted(request: Any, ctx: Context, service: Service) -> Any:
        method = ctx.method
        assert method is not None
        key = request_key(request, ctx) if store is not None else b""
        try:
            reply = await service(request, ctx)
        except CarrickError as error:
            if error.code not in options.codes:
                raise
            substitute = last_good(key, method)
            source = "last_good"
            if substitute is None and options.value is not None:
                substitute, source = _value(options.value, method), "value"
            elif substitute is None and options.function is not None:
                substitute, source = await _computed(options.function(request, error), method), "function"
            if substitute is None:
                raise
            observe(FallbackUsed(method=method.full_name, code=error.code.name, source=source))
            return substitute
        if store is not None:
            store.put(key, method.encode_response(reply), clock.monotonic())
        return reply

    def last_good(key: bytes, method: MethodSpec[Any, Any]) -> Any:
        if store is None or options.last_good is None:
            return None
        reply = store.get(key, clock.monotonic(), options.last_good)
        return None if reply is None else method.decode_response(reply)

    return substituted


def _value(value: Any, method: MethodSpec[Any, Any]) -> Any:
    """Return a copy of the value, which the caller may change."""
    if not method.streams_responses:
        return copied(value)
    return _stream(value if isinstance(value, Sequence) else [value])


async def _stream(replies: Iterable[Message]) -> AsyncIterator[Message]:
    for reply in replies:
        yield copied(reply)


async def _computed(value: Any, method: MethodSpec[Any, Any]) -> Any:
    if not isinstance(value, Message) and inspect.isawaitable(value):  # a message may have any field
        value = await value
    wanted = AsyncIterator if method.streams_responses else method.response
    if not isinstance(value, wanted):
        what = "an asynchronous iterator" if method.streams_responses else f"a {method.response.__name__}"
        raise TypeError(f"the fallback of {method.full_name} must return {what}, not a {type(value).__name__}")
    return value
