"""Pushback: how a server that turns a call away says when to come back, and how a client reads it."""

from math import ceil

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from carrick.context import Context, Metadata
from carrick.errors import Code, RejectedError

__all__ = ["PUSHBACK", "pushback", "turned_away"]

PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer by which a server says when to come back (gRPC proposal A6)."""

_DOMAIN = "carrick"
_MAX_PUSHBACK_MS = 2**31 - 1  # what gRPC's core reads


def turned_away(ctx: Context, message: str, *, reason: str, wait: float, metadata: dict[str, str]) -> RejectedError:
    """Put the pushback into the call's trailers, and return the error: ``RESOURCE_EXHAUSTED``, for ``reason``.

    ``wait`` is in seconds; what is sent is whole milliseconds, one at least.
    """
    milliseconds = min(max(1, ceil(wait * 1000)), _MAX_PUSHBACK_MS)
    ctx.call.trailers += ((PUSHBACK, str(milliseconds)),)
    delay = Duration()
    delay.FromMilliseconds(milliseconds)
    return RejectedError(
        Code.RESOURCE_EXHAUSTED,
        message,
        [ErrorInfo(reason=reason, domain=_DOMAIN, metadata=metadata), RetryInfo(retry_delay=delay)],
    )


def pushback(trailers: Metadata) -> float | None:
    """Return the seconds that a server asks to wait, negative for "do not retry", or None when it asks nothing.

    A value that is not a number, or not one of 32 bits, means "do not retry" (gRPC proposal A6): a call without a
    deadline would wait for it.
    """
    for name, value in trailers:
        if name == PUSHBACK:
            try:
                milliseconds = int(value)
            except ValueError:
                return -1.0
            return milliseconds / 1000 if abs(milliseconds) <= _MAX_PUSHBACK_MS else -1.0
    return None
