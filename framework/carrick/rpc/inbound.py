"""A call that comes in: metadata and bytes become a context and a request, and their answer bytes or a status."""

import logging
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias

import grpc.aio
from google.protobuf.message import DecodeError

from carrick.cancellation import cancelled
from carrick.context import Context, Metadata, enter_task
from carrick.errors import CarrickError, Code, StoreError
from carrick.method import MethodSpec
from carrick.rpc.handlers import handler_for, received_metadata
from carrick.rpc.limits import metadata_size
from carrick.rpc.metadata import check_metadata, context_from, retries_left
from carrick.rpc.requests import WholeRequests
from carrick.rpc.running import Running
from carrick.rpc.status import OWN_FAULTS, answer_for, grpc_code
from carrick.service import Service
from carrick.stream import close

__all__ = ["as_service", "inbound"]

_FOR_THE_PROCESS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_MAX_TRAILERS = 4096  # bytes: a peer drops a call with more than 8 KiB of metadata, and a status takes half of it
_Encode: TypeAlias = Callable[[Any, Context], bytes]
_logger = logging.getLogger("carrick.server")


def as_service(method: MethodSpec[Any, Any], handler: Callable[[Any, Context], Any]) -> Service:
    """Return a handler as a Service; one that streams responses is an async generator, which is not awaited."""
    if not method.streams_responses:
        return handler

    async def begin(request: Any, ctx: Context) -> Any:
        stream = handler(request, ctx)
        if isinstance(stream, AsyncIterable):
            return stream
        if isinstance(stream, Coroutine):
            stream.close()
        raise TypeError(f"the handler of {method.full_name} must yield its responses; it returned {_named(stream)}")

    return begin


def inbound(
    method: MethodSpec[Any, Any],
    service: Service,
    *,
    monotonic: Callable[[], float],
    max_message_bytes: int,
    running: Running,
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return what handles the calls of a method, for gRPC.

    It takes and gives bytes, where requests are not streamed, and writes streamed responses itself.
    """
    takes_stream, streams, response = method.streams_requests, method.streams_responses, method.response
    encode, decode = _encoder(method, max_message_bytes), _decoder(method)

    async def handle(request: Any, transport: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        left: float | None = transport.time_remaining()
        ctx = None
        running.count += 1
        try:
            deadline = None if left is None else monotonic() + left
            ctx = context_from(method, received_metadata(), deadline=deadline, peer=transport.peer())
            enter_task(ctx)
            if not takes_stream:
                request = decode(request)
            elif not streams:
                request = WholeRequests(request, transport)
            answer = None
            reply = await service(request, ctx)
            if streams:
                await _write(reply, ctx, transport, encode)
            else:
                if not isinstance(reply, response):
                    raise _wrong(reply, method)
                answer = encode(reply, ctx)
            if ctx.call.trailers and (trailers := _trailers(ctx)):
                transport.set_trailing_metadata(trailers)
            return answer
        except BaseException as error:  # whatever a handler raises becomes a status: its caller waits
            if cancelled(error) or isinstance(error, _FOR_THE_PROCESS):
                raise
            await _refuse(transport, error, method, ctx)
        finally:
            running.count -= 1
            if not running.count:
                running.idle.set()

    return handler_for(method, decode, handle)


def _decoder(method: MethodSpec[Any, Any]) -> Callable[[bytes], Any]:
    """Return what decodes requests. One that can't be read is its caller's fault; gRPC would answer UNKNOWN."""
    decode = method.decode_request

    def decoded(request: bytes) -> Any:
        try:
            return decode(request)
        except DecodeError:
            name = method.request.DESCRIPTOR.full_name
            raise CarrickError(Code.INVALID_ARGUMENT, f"{method.full_name}: the request is no {name}") from None

    return decoded


def _encoder(method: MethodSpec[Any, Any], most: int) -> _Encode:
    """Return what encodes replies. One that is too large is refused here: gRPC would not say whose or what."""
    encode = method.encode_response

    def encoded(reply: Any, ctx: Context) -> bytes:
        recorded = ctx.call.recorded
        whole = encode(reply) if recorded is None else recorded.encode(reply)
        if len(whole) > most:
            complaint = f"{method.full_name}: its reply of {len(whole)} bytes is above the limit of {most}"
            _logger.error("%s; send less, or give the server another max_message_bytes", complaint)
            raise CarrickError(Code.RESOURCE_EXHAUSTED, complaint)
        return whole

    return encoded


async def _write(stream: Any, ctx: Context, transport: Any, encode: _Encode) -> None:
    """Write each response when the connection has room for it, and close the handler's stream whatever happens."""
    assert ctx.method is not None
    response = ctx.method.response
    try:
        async for reply in stream:
            if not isinstance(reply, response):
                raise _wrong(reply, ctx.method)
            await transport.write(encode(reply, ctx))
    finally:
        await close(stream)


def _wrong(reply: object, method: MethodSpec[Any, Any]) -> TypeError:
    verb = "yielded" if method.streams_responses else "returned"
    return TypeError(f"{method.full_name} {verb} {_named(reply)}, not a {method.response.__name__}")


def _named(value: object) -> str:
    """Name a value's type only: what it holds may be secret, and this goes to the log."""
    return f"something of type {type(value).__name__}"


def _trailers(ctx: Context) -> Metadata:
    """Return the handler's trailers. What can't be sent is logged and left out: the handler's work is done."""
    trailers = ctx.call.trailers
    if not trailers:
        return ()
    try:
        check_metadata(trailers)
        size = metadata_size(trailers)
        complaint = f"{size} bytes are more than {_MAX_TRAILERS}" if size > _MAX_TRAILERS else None
    except (TypeError, CarrickError) as error:
        complaint = str(error)
    if complaint is not None:
        assert ctx.method is not None
        _logger.error("%s: its trailers are not sent: %s", ctx.method.full_name, complaint)
        return ()
    return trailers


async def _refuse(
    transport: "grpc.aio.ServicerContext[Any, Any]",
    error: BaseException,
    method: MethodSpec[Any, Any],
    ctx: Context | None,
) -> NoReturn:
    """Log what a call ended with and send it; there is no context when what came in made none."""
    if ctx is None:
        trailers: Metadata = ()
        answer = answer_for(error, "")
    else:
        _log_failure(method.full_name, error)
        answer, trailers = answer_for(error, ctx.correlation_id, ctx.call.recorded), _trailers(ctx)
    await transport.abort(grpc_code(answer.code), answer.message, (*answer.trailers, *trailers, *retries_left(error)))
    raise AssertionError("abort raises")


def _log_failure(method: str, error: BaseException) -> None:
    """Log an answer at debug, what this service depends on as a warning, its own fault with a traceback."""
    if not isinstance(error, CarrickError) or isinstance(error, OWN_FAULTS):
        _logger.error("%s failed", method, exc_info=error)
    elif error.attempt is not None or isinstance(error, StoreError):
        _logger.warning("%s failed: %s", method, error)
    elif error.code is Code.INTERNAL:
        _logger.error("%s failed", method, exc_info=error)
    else:
        _logger.debug("%s answered %s", method, error)
