"""Idempotency on the server: a key is executed once, and answered with the same reply ever after.

The filter claims the key before the handler runs; the handler's own transaction fulfils the claim. So a reply is
recorded if and only if the effect was committed. The three refusals are those of the IETF draft "The Idempotency-Key
HTTP Header Field".
"""

import hashlib
import logging
from typing import Any

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from carrick.cancellation import finish
from carrick.claim import Claim, Claimed, ClaimStore, InFlight, Mismatch, Replay
from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code
from carrick.ids import MAX_ID_LENGTH
from carrick.policy.retry import PUSHBACK
from carrick.service import Filter, Service

__all__ = ["fingerprint", "idempotency"]

_DOMAIN = "carrick"
_PUSHBACK_MS = 250
_logger = logging.getLogger("carrick.idempotency")


def fingerprint(request: Message) -> bytes:
    """Return 16 bytes that are the same for the same request (BLAKE2b of its deterministic encoding)."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()


def idempotency(store: ClaimStore, *, clock: Clock, lease: float = 30.0) -> Filter:
    """Make a filter that lets each key of a keyed method through once.

    A claim is held until the call's deadline and one second more, or for ``lease`` seconds where there is none. When
    the handler fails or is cancelled, the key is free again at once.
    """

    async def once(request: Any, ctx: Context, service: Service) -> Any:
        method, key = ctx.method, ctx.key
        assert method is not None
        if key is None:
            if method.key_required:
                raise _refused(
                    Code.INVALID_ARGUMENT,
                    "IDEMPOTENCY_KEY_MISSING",
                    f"{method.full_name} needs an idempotency key: send metadata idempotency-key with "
                    f"1 to {MAX_ID_LENGTH} visible ASCII characters",
                )
            return await service(request, ctx)
        remaining = ctx.remaining(clock.monotonic())
        outcome = await store.claim(
            method, key, fingerprint(request), lease if remaining is None else max(remaining, 0.0) + 1.0
        )
        match outcome:
            case Claimed(claim):
                return await _execute(store, claim, request, ctx, service)
            case Replay(reply):
                return method.decode_response(reply)
            case Mismatch():
                raise _refused(
                    Code.FAILED_PRECONDITION,
                    "IDEMPOTENCY_KEY_REUSED",
                    f"{method.full_name}: this idempotency key was used with another request; use a new key",
                )
            case InFlight(remaining=held):
                wait = min(_PUSHBACK_MS, max(1, round(held * 1000)))
                ctx.call.trailers += ((PUSHBACK, str(wait)),)
                raise _refused(
                    Code.ABORTED,
                    "IDEMPOTENCY_KEY_IN_FLIGHT",
                    f"{method.full_name}: a call with this idempotency key is still being executed; try again",
                )

    return once


async def _execute(store: ClaimStore, claim: Claim, request: Any, ctx: Context, service: Service) -> Any:
    """Run the handler under its claim, and see that it has fulfilled it."""
    ctx.call.claim = claim
    try:
        reply = await service(request, ctx)
    except BaseException:
        if not claim.fulfilled:
            await _give_back(store, claim)
        raise
    if not claim.fulfilled:
        await _give_back(store, claim)
        raise CarrickError(
            Code.INTERNAL,
            f"{claim.method.full_name} returned without completing its idempotency record; what it committed "
            "stays; end the handler with `return await tx.reply(response)` inside its transaction",
        )
    return reply


async def _give_back(store: ClaimStore, claim: Claim) -> None:
    """Release a claim, even while being cancelled. When that fails, the claim's lease ends it."""
    try:
        await finish(store.release(claim))
    except CarrickError as error:
        _logger.warning("claim of %s was not released and will expire: %s", claim.method.full_name, error)


def _refused(code: Code, reason: str, message: str) -> CarrickError:
    return CarrickError(code, message, [ErrorInfo(reason=reason, domain=_DOMAIN)])
