"""Idempotency on the server: a key is executed once, and answered with the same reply ever after.

The filter claims the key before the handler runs; the handler's own transaction fulfils the claim. So a reply is
recorded if and only if the effect was committed. The three refusals are those of the IETF draft "The Idempotency-Key
HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-06, 2.6 and 2.7); its 400, 422 and 409 are gRPC's
``INVALID_ARGUMENT``, ``FAILED_PRECONDITION`` and ``ABORTED``.

An error that the contract wants repeated is recorded after the handler has failed, in a transaction of its own. A crash
between the two leaves a claim without an answer: the key is executed again, which is right, as nothing was committed
under it.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from carrick import status
from carrick.cancellation import finish
from carrick.claim import Claim, Claimed, ClaimStore, InFlight, Mismatch, Recorded, Refusal, Replay
from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import CarrickError, Code, is_answer
from carrick.ids import MAX_ID_LENGTH
from carrick.method import MethodSpec
from carrick.policy.pushback import PUSHBACK
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

    A claim is held until the call's deadline and one second more, and for ``lease`` seconds at most; while its handler
    runs on, it is renewed. So a process that dies holds a key for ``lease`` seconds, however late the deadline. When
    the handler fails or is cancelled, the key is free again at once, save where its error was recorded.

    A repeated answer passes the filters in front of this one as a message, or as an error; ``Call.recorded`` has it,
    with the bytes to send for it where they leave it as it is.
    """

    async def once(request: Any, ctx: Context, service: Service) -> Any:
        method, key = ctx.method, ctx.key
        assert method is not None
        if key is None:
            if method.key_required:
                raise _missing(method)
            return await service(request, ctx)
        remaining = ctx.remaining(clock.monotonic())
        needed = None if remaining is None else max(remaining, 0.0) + 1.0
        held = lease if needed is None else min(needed, lease)
        outcome = await store.claim(method, key, fingerprint(request), held)
        match outcome:
            case Claimed(claim):
                ctx.call.claim = claim
                if needed is not None and needed <= lease:  # as nearly all calls are: no task
                    return await _execute(store, claim, request, ctx, service)
                async with _renewed(store, claim, lease, clock):
                    return await _execute(store, claim, request, ctx, service)
            case Replay(reply):
                message = method.decode_response(reply)
                ctx.call.recorded = Recorded(message, reply)
                return message
            case Refusal(encoded):
                error = status.decoded(encoded)
                ctx.call.recorded = Recorded(error, encoded)
                raise error
            case Mismatch():
                raise _reused(method)
            case InFlight(remaining=left):
                wait = min(_PUSHBACK_MS, max(1, round(left * 1000)))
                ctx.call.trailers += ((PUSHBACK, str(wait)),)
                raise _in_flight(method)

    return once


async def _execute(store: ClaimStore, claim: Claim, request: Any, ctx: Context, service: Service) -> Any:
    """Run the handler under its claim, and see that it has fulfilled it."""
    try:
        reply = await service(request, ctx)
    except BaseException as error:
        if not claim.fulfilled:
            await _settle(store, claim, error)
        raise
    if claim.refusal is not None:
        raise claim.refusal  # what was committed is the answer, also where the handler forgot to raise it
    if not claim.fulfilled:
        await _give_back(store, claim)
        raise CarrickError(
            Code.INTERNAL,
            f"{claim.method.full_name} returned without completing its idempotency record; what it committed "
            "stays; end the handler with `return await tx.reply(response)` inside its transaction",
        )
    return reply


async def _settle(store: ClaimStore, claim: Claim, error: BaseException) -> None:
    """Record what the contract wants repeated; after anything else the key is free."""
    rule = claim.method.policy.idempotency
    if rule and is_answer(error) and error.code in rule.replayed_errors:
        await _record(store, claim, error)
    else:
        await _give_back(store, claim)


async def _record(store: ClaimStore, claim: Claim, error: CarrickError) -> None:
    """Record an error, even while being cancelled. When that fails, the key is executed again after its lease."""
    try:
        await finish(store.refuse(claim, status.encoded(error.code, error.message, error.details)))
    except CarrickError as failure:
        _logger.warning("an error of %s was not recorded: %s", claim.method.full_name, failure)


async def _give_back(store: ClaimStore, claim: Claim) -> None:
    """Release a claim, even while being cancelled. When that fails, the claim's lease ends it."""
    try:
        await finish(store.release(claim))
    except CarrickError as error:
        _logger.warning("claim of %s was not released and will expire: %s", claim.method.full_name, error)


@asynccontextmanager
async def _renewed(store: ClaimStore, claim: Claim, lease: float, clock: Clock) -> AsyncIterator[None]:
    """Renew a claim while the block runs."""
    renewing = asyncio.create_task(_renew(store, claim, lease, clock))
    try:
        yield
    finally:
        renewing.cancel()  # a renewal under way does no harm: it holds nothing that was answered or given back


async def _renew(store: ClaimStore, claim: Claim, lease: float, clock: Clock) -> None:
    """Renew a claim until it is another's. Three renewals in a row may fail before its lease ends."""
    held = True
    while held:
        await clock.sleep(lease / 4)
        try:
            held = await store.renew(claim, lease)
        except CarrickError as error:
            _logger.warning("claim of %s was not renewed: %s", claim.method.full_name, error)


def _missing(method: MethodSpec[Any, Any]) -> CarrickError:
    return _refused(
        Code.INVALID_ARGUMENT,
        "IDEMPOTENCY_KEY_MISSING",
        f"{method.full_name} needs an idempotency key: send metadata idempotency-key with "
        f"1 to {MAX_ID_LENGTH} visible ASCII characters",
    )


def _reused(method: MethodSpec[Any, Any]) -> CarrickError:
    return _refused(
        Code.FAILED_PRECONDITION,
        "IDEMPOTENCY_KEY_REUSED",
        f"{method.full_name}: this idempotency key was used with another request; use a new key",
    )


def _in_flight(method: MethodSpec[Any, Any]) -> CarrickError:
    return _refused(
        Code.ABORTED,
        "IDEMPOTENCY_KEY_IN_FLIGHT",
        f"{method.full_name}: a call with this idempotency key is still being executed; try again",
    )


def _refused(code: Code, reason: str, message: str) -> CarrickError:
    return CarrickError(code, message, [ErrorInfo(reason=reason, domain=_DOMAIN)])
