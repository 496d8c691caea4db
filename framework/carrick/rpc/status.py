"""Errors to gRPC statuses and back, with ``google.rpc.Status`` details: the one place where the two meet."""

import asyncio
from dataclasses import dataclass
from typing import NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from carrick.cancellation import cancelled
from carrick.claim import Recorded
from carrick.context import Attempt, Metadata
from carrick.errors import (
    OWN_FAULTS,
    CarrickError,
    Code,
    DeadlineError,
    RemoteError,
    TransportError,
    is_answer,
)
from carrick.status import details_of, encoded, shortened, told

__all__ = ["DETAILS", "OWN_FAULTS", "Answer", "answer_for", "error_from", "grpc_code", "raise_ended"]

DETAILS = "grpc-status-details-bin"

_TO_GRPC = {Code(code.value[0]): code for code in grpc.StatusCode}
_FROM_GRPC = {code: ours for ours, code in _TO_GRPC.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """The status that a server sends for an error."""

    code: Code
    message: str
    trailers: Metadata


def grpc_code(code: Code) -> grpc.StatusCode:
    """Return gRPC's object for a code."""
    return _TO_GRPC[code]


def answer_for(error: BaseException, correlation_id: str, recorded: Recorded | None = None) -> Answer:
    """Return the status for what a caller is told; an error that is given again keeps its recorded bytes."""
    if recorded is not None and recorded.outcome is error and is_answer(error):
        return Answer(error.code, error.message, ((DETAILS, recorded.encoded),))
    said = told(error, correlation_id)
    return Answer(said.code, shortened(said.message), ((DETAILS, encoded(said.code, said.message, said.details)),))


def error_from(failure: grpc.aio.AioRpcError, attempt: Attempt, method: str) -> CarrickError:
    """Turn gRPC's error into ours and fill in the attempt's headers, trailers and code.

    A ``RemoteError`` has the peer's own message. A status without any trailers, of a kind that the core itself gives
    when a connection fails, is taken for the core's: a ``TransportError``.
    """
    code = _FROM_GRPC[failure.code()]
    attempt.code = code
    attempt.headers = tuple(failure.initial_metadata() or ())
    attempt.trailers = tuple(failure.trailing_metadata() or ())
    message = failure.details() or ""
    if code is Code.DEADLINE_EXCEEDED:
        return DeadlineError(f"{method}: {message or 'the deadline passed'}", attempt=attempt)
    if code is Code.RESOURCE_EXHAUSTED and _too_large(message, attempt.trailers):
        advice = "make the channel with a larger max_message_bytes or max_metadata_bytes, or ask for less"
        return TransportError(
            code, f"{method}: the answer is too large for this channel: {message}; {advice}", attempt=attempt
        )
    if not attempt.trailers and code in (Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL):
        return TransportError(code, f"{method}: {message}", attempt=attempt)
    return RemoteError(code, message, _details(attempt.trailers), attempt=attempt)


def _too_large(message: str, trailers: Metadata) -> bool:
    """Say whether the core did not take what came from the peer, by its words; trailers it hands on all the same."""
    if message.startswith("Stream removed (received metadata size exceeds"):
        return True
    return not trailers and "CLIENT: Received message larger than max" in message


def raise_ended(error: BaseException, attempt: Attempt, method: str) -> NoReturn:
    """Raise what a call's end means: gRPC's status, an answer that is none, or what was the caller's own.

    A cancellation that is not the current task's is grpc's own, for a channel that was closed.
    """
    if isinstance(error, grpc.aio.AioRpcError):
        raise error_from(error, attempt, method) from error
    if isinstance(error, DecodeError):
        attempt.code = Code.INTERNAL
        raise TransportError(Code.INTERNAL, f"{method}: the answer can't be read: {error}", attempt=attempt) from error
    if cancelled(error) or not isinstance(error, asyncio.CancelledError):
        raise error
    attempt.code = Code.CANCELLED
    raise TransportError(Code.CANCELLED, f"{method}: the channel was closed", attempt=attempt) from None


def _details(trailers: Metadata) -> tuple[Message, ...]:
    for name, value in trailers:
        if name == DETAILS and isinstance(value, bytes):
            return details_of(value)
    return ()
