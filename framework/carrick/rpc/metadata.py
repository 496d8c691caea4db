"""The framework's words in RPC metadata, and their checked reading."""

import re
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo

from carrick.allowance import RETRIES_LEFT, RetryAllowance, parse_allowance
from carrick.context import AttemptKind, Call, Context, Metadata
from carrick.errors import CarrickError, Code
from carrick.ids import MAX_ID_LENGTH, accepted_id
from carrick.method import MethodSpec
from carrick.options import Priority
from carrick.trace import Trace

__all__ = ["check_metadata", "context_from", "metadata_for", "retries_left"]

CORRELATION = "x-correlation-id"
CAUSATION = "x-causation-id"
KEY = "idempotency-key"
ATTEMPT = "x-carrick-attempt"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
PRIORITY = "x-carrick-priority"
TENANT = "x-carrick-tenant"

_PRIORITIES: dict[Any, Priority] = {each.value: each for each in Priority}
_OURS = frozenset(
    {CORRELATION, CAUSATION, KEY, ATTEMPT, TRACEPARENT, TRACESTATE, PRIORITY, TENANT, RETRIES_LEFT, "user-agent"}
)

_MAX_CAUSES = 10
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")
_PAIRS = ([str, str], [str, bytes])


def metadata_for(ctx: Context) -> Metadata:
    """Return what goes out with a call. The deadline is not here: the transport sets it.

    Raises what :func:`check_metadata` does.
    """
    pairs: list[tuple[str, str | bytes]] = [(CORRELATION, ctx.correlation_id)]
    if ctx.causation_id is not None:
        pairs.append((CAUSATION, ctx.causation_id))
    if ctx.key is not None:
        pairs.append((KEY, ctx.key))
    if ctx.trace is not None:
        pairs.append((TRACEPARENT, ctx.trace.parent))
        if ctx.trace.state:
            pairs.append((TRACESTATE, ctx.trace.state))
    if ctx.attempt is not None and ctx.attempt.kind is not AttemptKind.FIRST:
        pairs.append((ATTEMPT, str(ctx.attempt.number)))
    if ctx.priority is not None:
        pairs.append((PRIORITY, ctx.priority.value))
    if ctx.tenant is not None:
        pairs.append((TENANT, ctx.tenant))
    if ctx.call.allowance is not None:
        pairs.append((RETRIES_LEFT, str(ctx.call.allowance.left)))
    if not ctx.metadata:
        return tuple(pairs)
    check_metadata(ctx.metadata)
    return (*pairs, *(pair for pair in ctx.metadata if pair[0] not in _OURS))  # what came in may be handed on


def context_from(
    method: MethodSpec[Any, Any],
    metadata: Metadata,
    *,
    deadline: float | None,
    peer: str,
) -> Context:
    """Make the context of a call that came in.

    A correlation id that is not 1 to 128 visible ASCII characters is replaced by a new one; such an idempotency key is
    refused with ``INVALID_ARGUMENT``, since another one in its place would break the caller's promise, and so is more
    than one key (draft-ietf-httpapi-idempotency-key-header-06, 2.1).
    """
    words = dict(metadata)
    call = Call()
    if RETRIES_LEFT in words and (allowed := parse_allowance(words[RETRIES_LEFT])) is not None:
        call.allowance = RetryAllowance(allowed, inherited=True)
    priority = method.policy.priority
    return Context(
        method,
        correlation_id=accepted_id(words[CORRELATION]) if CORRELATION in words else None,
        causation_id=accepted_id(words[CAUSATION]) if CAUSATION in words else None,
        deadline=deadline,
        key=_accepted_key(words[KEY], metadata) if KEY in words else None,
        metadata=metadata,
        peer=peer,
        trace=Trace.parse(words[TRACEPARENT], words.get(TRACESTATE)) if TRACEPARENT in words else None,
        priority=_PRIORITIES.get(words[PRIORITY], priority) if PRIORITY in words else priority,
        tenant=accepted_id(words[TENANT]) if TENANT in words else None,
        call=call,
    )


def retries_left(error: BaseException) -> Metadata:
    """Return what tells a caller how many retries are left, where an error came of a call that was retried below."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        if isinstance(cause, CarrickError) and cause.attempt is not None and cause.attempt.retries_left is not None:
            return ((RETRIES_LEFT, str(cause.attempt.retries_left)),)
        cause = cause.__cause__ or cause.__context__
    return ()


def _accepted_key(key: str | bytes, pairs: Metadata) -> str:
    accepted = accepted_id(key)
    if accepted is None:
        complaint = f"the idempotency key is not 1 to {MAX_ID_LENGTH} visible ASCII characters"
    elif [name for name, _ in pairs].count(KEY) > 1:
        complaint = "there is more than one idempotency key: send one"
    else:
        return accepted
    raise CarrickError(
        Code.INVALID_ARGUMENT, complaint, [ErrorInfo(reason="IDEMPOTENCY_KEY_INVALID", domain="carrick")]
    )


def check_metadata(metadata: Any) -> None:
    """Refuse what gRPC would refuse in words of its own.

    Raises ``INVALID_ARGUMENT`` for a name or a value, and ``TypeError`` for what are no pairs of text.
    """
    if not isinstance(metadata, (tuple, list)):
        raise TypeError(f'metadata is a tuple of pairs, like (("x-tenant", "acme"),), not a {type(metadata).__name__}')
    for pair in metadata:
        if not isinstance(pair, (tuple, list)) or [type(part) for part in pair] not in _PAIRS:
            raise TypeError(
                'metadata is of pairs like ("x-tenant", "acme") or ("x-tenant-bin", b"acme"), '
                f"not of a {type(pair).__name__}{_types(pair)}"  # values stay out of errors: they may be secrets
            )
        if complaint := _complaint(*pair):
            raise CarrickError(Code.INVALID_ARGUMENT, f"metadata {pair[0]!r}: {complaint}")


def _types(pair: Any) -> str:
    if not isinstance(pair, (tuple, list)):
        return ""
    return f" of ({', '.join(type(part).__name__ for part in pair)})"


def _complaint(name: str, value: str | bytes) -> str | None:
    if not _NAME.fullmatch(name):
        return "a name is of lower-case letters, digits, and any of _ . -"
    if name.endswith("-bin"):
        return None if isinstance(value, bytes) else "under a name with -bin are bytes, not text"
    if not _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")):
        return "a value is of visible ASCII characters and spaces; anything else goes as bytes under a name with -bin"
    return None
