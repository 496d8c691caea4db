"""One gRPC connection to one address, as a Service for each method."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio
from google.protobuf.message import DecodeError

from carrick.clock import Clock
from carrick.context import Context, Metadata
from carrick.errors import CarrickError, Code, DeadlineError, TransportError
from carrick.method import MethodKind, MethodSpec
from carrick.rpc.connection import Connection, check_grpcio
from carrick.rpc.limits import metadata_limit
from carrick.rpc.metadata import metadata_for
from carrick.rpc.status import raise_ended
from carrick.rpc.streaming import RequestSender, Responses
from carrick.service import Service

__all__ = ["GrpcTransport", "Transport"]

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),  # retries are the stack's, one layer of them
    ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted peer is found again soon
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in spite of its name, what an attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel's connections are its own
)
_LONGEST = 1e9  # seconds, 31 years: with a deadline that its clock does not hold the core ends a call at once


class Transport(Protocol):
    """What makes the calls of a channel to one endpoint."""

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service at the bottom of a method's stack: it fills in the context's attempt."""
        ...

    async def close(self) -> None:
        """Let go of what it holds; calls under way and later ones end with ``TransportError``."""
        ...


class GrpcTransport:
    """A connection, made with the first call and kept until :meth:`close`. Belongs to one event loop."""

    def __init__(
        self,
        target: str,
        clock: Clock,
        *,
        max_message_bytes: int = 4 * 1024 * 1024,
        max_metadata_bytes: int = 16 * 1024,
    ) -> None:
        check_grpcio()
        self.target = target
        self._clock = clock
        self._options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", max_message_bytes),
            *metadata_limit(max_metadata_bytes),
        )
        self._connection: Connection | None = None
        self._closed = False

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service that makes calls of a method and waits for the answer until the context's deadline.

        Where responses are streamed, it returns with the first of them there. Cancelling it, or closing the stream,
        cancels the call at the peer; requests that are streamed are then no longer asked for, and closed.
        """
        match method.kind:
            case MethodKind.UNARY:
                return self._unary(method)
            case MethodKind.CLIENT_STREAM:
                return self._client_stream(method)
            case MethodKind.SERVER_STREAM:
                return self._server_stream(method)
            case MethodKind.BIDI_STREAM:
                return self._bidi_stream(method)

    async def close(self) -> None:
        """Close the connection for good; calls under way and later ones end with ``TransportError``."""
        self._closed = True
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _unary(self, method: MethodSpec[Any, Any]) -> Service:
        path = f"/{method.full_name}".encode()

        async def send(request: Any, ctx: Context) -> Any:
            attempt = ctx.attempt
            assert attempt is not None
            encoded = method.encode_request(request)
            connection, timeout, metadata = self._begun(ctx, method)
            try:
                reply = method.decode_response(await connection.unary(path, encoded, timeout, metadata))
            except (grpc.aio.AioRpcError, asyncio.CancelledError, DecodeError) as error:
                raise_ended(error, attempt, method.full_name)
            attempt.code = Code.OK
            return reply

        return send

    def _client_stream(self, method: MethodSpec[Any, Any]) -> Service:
        begin = self._beginning(method, "stream_unary")

        async def send(requests: Any, ctx: Context) -> Any:
            attempt = ctx.attempt
            assert attempt is not None
            call = begin(ctx)
            sender = RequestSender(call, requests, method)
            try:
                reply = method.decode_response(await call)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # raised again, as what it means
                call.cancel()
                await sender.stop()
                sender.raise_own_error(error)
                raise_ended(error, attempt, method.full_name)
            await sender.stop()
            attempt.code = Code.OK
            return reply

        return send

    def _server_stream(self, method: MethodSpec[Any, Any]) -> Service:
        begin = self._beginning(method, "unary_stream")

        async def send(request: Any, ctx: Context) -> Any:
            assert ctx.attempt is not None
            responses = Responses(begin(ctx, method.encode_request(request)), None, ctx.attempt, method)
            return await responses.begun(self._patience(ctx))

        return send

    def _bidi_stream(self, method: MethodSpec[Any, Any]) -> Service:
        begin = self._beginning(method, "stream_stream")

        async def send(requests: Any, ctx: Context) -> Any:
            assert ctx.attempt is not None
            call = begin(ctx)
            responses = Responses(call, RequestSender(call, requests, method), ctx.attempt, method)
            return await responses.begun(self._patience(ctx))

        return send

    def _beginning(self, method: MethodSpec[Any, Any], shape: str) -> Callable[..., Any]:
        """Return what begins a call of a stream in grpc's words, with an encoded request or without.

        grpc gets and gives bytes: its own decoding turns an answer that can't be read into None.
        """
        invoke: Any = None

        def begin(ctx: Context, *request: Any) -> Any:
            nonlocal invoke
            connection, timeout, metadata = self._begun(ctx, method)
            if invoke is None:
                invoke = getattr(connection.channel, shape)(f"/{method.full_name}")
            return invoke(*request, timeout=timeout, metadata=metadata)

        return begin

    def _patience(self, ctx: Context) -> float | None:
        """Return the seconds that an attempt has until its first response, where it has less than the call."""
        assert ctx.attempt is not None
        return None if ctx.attempt.deadline is None else ctx.attempt.deadline - self._clock.monotonic()

    def _begun(self, ctx: Context, method: MethodSpec[Any, Any]) -> tuple[Connection, float | None, Metadata]:
        """Return what a call is made with, its timeout in seconds and its metadata; refuse one that can't be sent."""
        attempt = ctx.attempt
        assert attempt is not None
        now = self._clock.monotonic()
        timeout = ctx.remaining(now) if method.streams_responses else ctx.remaining_for_response(now)
        if timeout is not None and not timeout > 0:  # which NaN is neither
            raise DeadlineError(f"{method.full_name} was not sent: its deadline had passed", attempt=attempt)
        if self._closed:
            raise TransportError(Code.CANCELLED, f"{method.full_name}: the channel is closed", attempt=attempt)
        try:
            metadata = metadata_for(ctx)
        except CarrickError as error:
            error.attempt = attempt  # which was never sent: nobody is to take it for the peer's answer
            raise
        if self._connection is None:
            self._connection = Connection(self.target, self._options)
        attempt.sent = True
        if timeout is not None and timeout > _LONGEST:
            timeout = None
        return self._connection, timeout, metadata
