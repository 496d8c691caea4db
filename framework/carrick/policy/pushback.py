"""How a server turns a call away that it did not begin: with when to come back, for gRPC's retry and for programs."""

from math import ceil

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from carrick.context import Context
from carrick.errors import Code, RejectedError
from carrick.policy.retry import PUSHBACK

__all__ = ["turned_away"]

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
