"""The framework's words in the headers of requests and answers over a broker, and their checked reading.

An answer that is an error has the headers of NATS's service API (ADR-32), ``Nats-Service-Error-Code`` and
``Nats-Service-Error``, and a ``google.rpc.Status`` as its payload.
"""

import math
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from carrick.context import Attempt, Context
from carrick.errors import CarrickError, Code, RemoteError
from carrick.ids import accepted_id, random_id
from carrick.status import decoded, shortened
from carrick.trace import Trace

__all__ = ["context_of", "error_headers", "error_of", "request_headers", "time_left"]

CORRELATION = "x-correlation-id"
CAUSATION = "x-causation-id"
KEY = "idempotency-key"
TIMEOUT = "x-carrick-timeout"
"""Seconds that the asker goes on waiting. Not a moment: clocks differ between machines."""
_ERROR_CODE = "Nats-Service-Error-Code"
_ERROR = "Nats-Service-Error"
_LONGEST = 1e9


def request_headers(ctx: Context | None, subject: str, timeout: float) -> dict[str, str]:
    """Return the headers of a request that is made while handling ``ctx``, or nothing."""
    headers = {
        CORRELATION: ctx.correlation_id if ctx else random_id(),
        KEY: ctx.outgoing_key(subject) if ctx else random_id(),
        TIMEOUT: f"{timeout:.6f}",
    }
    if ctx is None:
        return headers
    if cause := ctx.key or ctx.causation_id:
        headers[CAUSATION] = cause
    if ctx.trace is not None:
        headers["traceparent"] = ctx.trace.parent
        if ctx.trace.state:
            headers["tracestate"] = ctx.trace.state
    return headers


def time_left(headers: Mapping[str, str], most: float) -> float:
    """Return for how many seconds the asker goes on waiting: ``most`` where it does not say, and never more."""
    words = {name.lower(): value for name, value in headers.items()}
    try:
        left = float(words[TIMEOUT])
    except (KeyError, ValueError):
        return most
    return min(left, most) if math.isfinite(left) and abs(left) < _LONGEST else most


def context_of(headers: Mapping[str, str], deadline: float) -> Context:
    """Return the context of a request that came in, from headers that anybody may have written."""
    words = {name.lower(): value for name, value in headers.items()}
    return Context(
        None,
        correlation_id=accepted_id(words.get(CORRELATION)),
        causation_id=accepted_id(words.get(CAUSATION)),
        deadline=deadline,
        key=accepted_id(words.get(KEY)) or random_id(),
        metadata=tuple(words.items()),
        trace=Trace.parse(words.get("traceparent"), words.get("tracestate")),
    )


def error_headers(error: CarrickError) -> dict[str, str]:
    """Return the headers of an answer that is an error."""
    return {_ERROR_CODE: str(int(error.code)), _ERROR: " ".join(shortened(error.message).split()) or error.code.name}


def error_of(headers: Mapping[str, str], data: bytes, attempt: Attempt) -> RemoteError | None:
    """Return the error that an answer is, or None when it is none.

    What is not of this framework, like an HTTP status of another's service, is ``UNKNOWN`` with its words.
    """
    words = {name.lower(): value for name, value in headers.items()}
    number = words.get(_ERROR_CODE.lower())
    if number is None:
        return None
    try:
        error = decoded(data)
        if str(int(error.code)) == number.strip():
            return RemoteError(error.code, error.message, error.details, attempt=attempt)
    except (DecodeError, ValueError, TypeError):
        pass
    said = shortened(words.get(_ERROR.lower(), ""))
    return RemoteError(Code.UNKNOWN, f"{said or 'the service failed'} (its code is {number[:20]})", attempt=attempt)
