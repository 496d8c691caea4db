"""One gRPC connection to one address, as a Service for each method."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from carrick.cancellation import cancelled
from carrick.clock import Clock
from carrick.context import Context
from carrick.errors import Code, DeadlineError, TransportError
from carrick.method import MethodSpec
from carrick.rpc.metadata import metadata_for
from carrick.rpc.status import error_from
from carrick.service import Service

__all__ = ["GrpcTransport"]

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),  # retries are the stack's, one layer of them
    ("grpc.initial_reconnect_backoff_ms", 100),  # a restarted peer is found again soon
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel's connections are its own
)


class GrpcTransport:
    """A connection, made with the first call and kept until :meth:`close`. Belongs to one event loop."""

    def __init__(self, target: str, clock: Clock) -> None:
        self.target = target
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    def unary(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service that sends a unary call and waits for the answer until the context's deadline.

        Cancelling it cancels the call at the peer.
        """
        invoke: grpc.aio.UnaryUnaryMultiCallable[Any, Any] | None = None

        async def send(request: Any, ctx: Context) -> Any:
            nonlocal invoke
            attempt = ctx.attempt
            assert attempt is not None
            timeout = ctx.remaining(self._clock.monotonic())
            if timeout is not None and timeout <= 0:
                raise DeadlineError(f"{method.full_name} was not sent: its deadline had passed", attempt=attempt)
            if self._closed:
                raise TransportError(Code.CANCELLED, f"{method.full_name}: the channel is closed", attempt=attempt)
            if invoke is None:
                invoke = self._connect().unary_unary(
                    f"/{method.full_name}",
                    request_serializer=method.encode_request,
                    response_deserializer=method.decode_response,
                )
            attempt.sent = True
            try:
                reply = await invoke(request, timeout=timeout, metadata=metadata_for(ctx))
            except grpc.aio.AioRpcError as failure:
                raise error_from(failure, attempt, method.full_name) from failure
            except asyncio.CancelledError as error:
                if cancelled(error):
                    raise  # and not grpc's own, for a channel that was closed
                attempt.code = Code.CANCELLED
                raise TransportError(
                    Code.CANCELLED, f"{method.full_name}: the channel was closed", attempt=attempt
                ) from None
            attempt.code = Code.OK
            return reply

        return send

    async def close(self) -> None:
        """Close the connection for good; calls under way and later ones end with ``TransportError``."""
        self._closed = True
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    def _connect(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=_OPTIONS)
        return self._channel
