"""Calls for code without an event loop: Django, Flask, scripts.

There is no second implementation of anything: each call runs as the asynchronous one does, on an event loop in a
background thread that all blocking channels of the process share.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from carrick.context import Metadata
from carrick.method import MethodSpec
from carrick.options import PolicyOverride
from carrick.rpc.calls import BidiStreamCall, ClientStreamCall, ResponseStream, ServerStreamCall, UnaryCall
from carrick.rpc.channel import Channel
from carrick.rpc.handover import Handover, ThreadedHandover
from carrick.rpc.loop_thread import LoopThread

__all__ = [
    "BlockingBidiStreamCall",
    "BlockingChannel",
    "BlockingClientStreamCall",
    "BlockingResponseStream",
    "BlockingServerStreamCall",
    "BlockingUnaryCall",
]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

_shared = LoopThread()


class BlockingChannel:
    """A :class:`Channel` whose calls wait for their answer. Any number of threads may share one.

    Takes a target, ``host:port``, or a channel made for this alone. What is current for the calling thread (deadline,
    correlation id) is inherited as ever. Make the first call after a fork, not before: in a server that forks its
    workers, in the worker. Close it, or use it as a context manager.
    """

    def __init__(self, channel: str | Channel) -> None:
        self._channel = Channel(channel) if isinstance(channel, str) else channel
        self._loop = _shared

    def unary(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> "BlockingUnaryCall[Req, Res]":
        """Build the stack of a unary method."""
        return BlockingUnaryCall(self._loop, self._channel.unary(method, policy))

    def client_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> "BlockingClientStreamCall[Req, Res]":
        """Build the stack of a client-streaming method."""
        return BlockingClientStreamCall(self._loop, self._channel.client_stream(method, policy))

    def server_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> "BlockingServerStreamCall[Req, Res]":
        """Build the stack of a server-streaming method."""
        return BlockingServerStreamCall(self._loop, self._channel.server_stream(method, policy))

    def bidi_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> "BlockingBidiStreamCall[Req, Res]":
        """Build the stack of a bidirectional method."""
        return BlockingBidiStreamCall(self._loop, self._channel.bidi_stream(method, policy))

    def close(self) -> None:
        """Close the connection; calls under way end with ``TransportError``."""
        self._loop.run(self._channel.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BlockingUnaryCall(Generic[Req, Res]):
    """One request, one response: call it with the request."""

    __slots__ = ("_call", "_loop")

    def __init__(self, loop: LoopThread, call: UnaryCall[Req, Res]) -> None:
        self._loop = loop
        self._call = call

    def __call__(
        self, request: Req, *, timeout: float | None = None, key: str | None = None, metadata: Metadata = ()
    ) -> Res:
        """Make the call and wait. ``timeout`` is in seconds; raises a ``CarrickError``. Ctrl-C cancels the call."""
        return self._loop.run(self._call(request, timeout=timeout, key=key, metadata=metadata))


class BlockingClientStreamCall(Generic[Req, Res]):
    """Many requests, one response: call it with an iterable of requests."""

    __slots__ = ("_call", "_loop")

    def __init__(self, loop: LoopThread, call: ClientStreamCall[Req, Res]) -> None:
        self._loop = loop
        self._call = call

    def __call__(self, requests: Iterable[Req], *, timeout: float | None = None, metadata: Metadata = ()) -> Res:
        """Make the call, iterating over ``requests`` in the calling thread, and wait for the answer.

        When the call ends before they do, they are closed. Raises a ``CarrickError``, or what ``requests`` raised.
        """
        handover: Handover[Req] = Handover(self._loop, requests)
        answer = self._loop.submit(self._call(handover, timeout=timeout, metadata=metadata))
        try:
            handover.send()
        except BaseException:
            answer.cancel()
            raise
        return self._loop.result(answer)


class BlockingServerStreamCall(Generic[Req, Res]):
    """One request, many responses: call it with the request, and iterate over what it returns."""

    __slots__ = ("_call", "_loop")

    def __init__(self, loop: LoopThread, call: ServerStreamCall[Req, Res]) -> None:
        self._loop = loop
        self._call = call

    def __call__(
        self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> "BlockingResponseStream[Res]":
        """Return the responses; the call is made when the first is asked for."""
        return BlockingResponseStream(self._loop, self._call(request, timeout=timeout, metadata=metadata))


class BlockingBidiStreamCall(Generic[Req, Res]):
    """Many requests, many responses: call it with an iterable of requests, and iterate over what it returns."""

    __slots__ = ("_call", "_loop")

    def __init__(self, loop: LoopThread, call: BidiStreamCall[Req, Res]) -> None:
        self._loop = loop
        self._call = call

    def __call__(
        self, requests: Iterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> "BlockingResponseStream[Res]":
        """Return the responses; the call is made when the first is asked for.

        ``requests`` are iterated over in a thread of their own, so that either side can wait for the other.
        """
        if not isinstance(requests, Iterable):
            raise TypeError(
                f"the requests must be an iterable, like a list or a generator's, not a {type(requests).__name__}"
            )
        handover = ThreadedHandover(self._loop, requests)
        return BlockingResponseStream(self._loop, self._call(handover, timeout=timeout, metadata=metadata))


class BlockingResponseStream(Generic[Res]):
    """The responses of a call: iterate over them, once. See :class:`ResponseStream`."""

    __slots__ = ("_loop", "_reading", "_stream")

    def __init__(self, loop: LoopThread, stream: ResponseStream[Res]) -> None:
        self._loop = loop
        self._stream = stream
        self._reading: asyncio.Task[Any] | None = None

    @property
    def trailers(self) -> Metadata:
        """What the peer sent after the last response; empty before the end."""
        return self._stream.trailers

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Res:
        response = self._loop.run(self._next())
        if response is None:
            raise StopIteration
        return response

    async def _next(self) -> Res | None:
        self._reading = asyncio.current_task()
        return await anext(self._stream, None)

    def close(self) -> None:
        """End the call now, from any thread: one that waits for a response gets a ``TransportError``.

        Calling it again, or after the end, does nothing.
        """
        self._loop.run(self._close())

    async def _close(self) -> None:
        if self._reading is not None and not self._reading.done():  # also one that Ctrl-C has left behind
            self._reading.cancel()
            await asyncio.wait((self._reading,))
        await self._stream.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
