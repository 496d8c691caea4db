"""The framework's words in RPC metadata, and their checked reading."""

import re
from collections.abc import Iterable
from typing import Any

from carrick.context import AttemptKind, Context, Metadata
from carrick.errors import CarrickError, Code
from carrick.ids import MAX_ID_LENGTH, accepted_id
from carrick.method import MethodSpec
from carrick.trace import Trace

__all__ = ["check_metadata", "context_from", "metadata_for"]

CORRELATION = "x-correlation-id"
CAUSATION = "x-causation-id"
KEY = "idempotency-key"
ATTEMPT = "x-carrick-attempt"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_OURS = frozenset({CORRELATION, CAUSATION, KEY, ATTEMPT, TRACEPARENT, TRACESTATE, "user-agent"})

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
    if not ctx.metadata:
        return tuple(pairs)
    check_metadata(ctx.metadata)
    return (*pairs, *(pair for pair in ctx.metadata if pair[0] not in _OURS))  # what came in may be handed on


def context_from(
    method: MethodSpec[Any, Any],
    metadata: Iterable[tuple[str, str | bytes]],
    *,
    deadline: float | None,
    peer: str,
) -> Context:
    """Make the context of a call that came in.

    A correlation id that is not 1 to 128 visible ASCII characters is replaced by a new one; such an idempotency key is
    refused with ``INVALID_ARGUMENT``, since another one in its place would break the caller's promise.
    """
    pairs = tuple(metadata)
    words = dict(pairs)
    key = accepted_id(words.get(KEY))
    if key is None and KEY in words:
        raise CarrickError(
            Code.INVALID_ARGUMENT,
            f"the idempotency key is not 1 to {MAX_ID_LENGTH} visible ASCII characters",
        )
    return Context(
        method,
        correlation_id=accepted_id(words.get(CORRELATION)),
        causation_id=accepted_id(words.get(CAUSATION)),
        deadline=deadline,
        key=key,
        metadata=pairs,
        peer=peer,
        trace=Trace.parse(words.get(TRACEPARENT), words.get(TRACESTATE)),
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
