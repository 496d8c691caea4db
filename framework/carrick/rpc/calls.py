"""Methods bound to a channel, one class for each shape of a call."""

from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock
from carrick.context import Attempt, AttemptKind, Call, Context, Metadata, current
from carrick.errors import CarrickError, Code
from carrick.ids import MAX_ID_LENGTH, accepted_id, random_id
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.options import MethodPolicy
from carrick.policy.deadline import DEFAULT_MARGIN, effective_deadline
from carrick.service import Service
from carrick.stream import Requests, RequestsFailedError, close
from carrick.trace import Trace

__all__ = ["BidiStreamCall", "ClientStreamCall", "ResponseStream", "ServerStreamCall", "UnaryCall"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class _BoundMethod(Generic[Req, Res]):
    """A method and the stack in front of it.

    A call inherits correlation id and deadline from the call or event that is being handled, and derives its
    idempotency key from it.
    """

    __slots__ = ("_clock", "_margin", "_method", "_position", "_priority", "_service", "_timeout")

    def __init__(
        self,
        method: MethodSpec[Req, Res],
        policy: MethodPolicy,
        service: Service,
        default_timeout: float | None,
        clock: Clock,
        instruments: Instruments | None,
    ) -> None:
        self._method = method
        self._service = service
        self._timeout = policy.timeout or default_timeout
        self._margin = DEFAULT_MARGIN if policy.deadline_margin is None else policy.deadline_margin
        self._priority = policy.priority
        self._clock = clock
        self._position = instruments.position if instruments else _inherited

    def _check_request(self, request: Req) -> None:
        if not isinstance(request, self._method.request):
            raise TypeError(
                f"{self._method.full_name} takes a {self._method.request.__name__}, not a {type(request).__name__}"
            )

    def _check_requests(self, requests: AsyncIterable[Req]) -> None:
        if not isinstance(requests, AsyncIterable):
            raise TypeError(
                f"{self._method.full_name} takes an asynchronous iterator of {self._method.request.__name__}, like an "
                f"async generator's, not a {type(requests).__name__}"
            )

    def _context(self, timeout: float | None, key: str | None, metadata: Metadata) -> Context:
        method = self._method
        parent = current()
        if key is not None and accepted_id(key) is None:
            raise CarrickError(
                Code.INVALID_ARGUMENT,
                f"{method.full_name}: the idempotency key must be 1 to {MAX_ID_LENGTH} visible ASCII characters",
            )
        if key is None and method.keyed:
            key = parent.outgoing_key(method.full_name) if parent else random_id()
        call = Call()
        attempt = Attempt(1, AttemptKind.FIRST)
        call.attempts.append(attempt)
        call.winner = attempt
        if parent:
            call.allowance = parent.call.allowance
        return Context(
            method,
            correlation_id=parent.correlation_id if parent else None,
            causation_id=(parent.key or parent.causation_id) if parent else None,
            deadline=effective_deadline(
                self._clock.monotonic(),
                self._timeout if timeout is None else timeout,
                parent.deadline if parent else None,
                self._margin,
            ),
            key=key,
            metadata=metadata,
            trace=self._position(parent),
            priority=(parent.priority if parent else None) or self._priority,
            tenant=parent.tenant if parent else None,
            call=call,
            attempt=attempt,
        )


class UnaryCall(_BoundMethod[Req, Res]):
    """One request, one response: call it with the request."""

    __slots__ = ()

    async def __call__(
        self, request: Req, *, timeout: float | None = None, key: str | None = None, metadata: Metadata = ()
    ) -> Res:
        """Make the call. ``timeout`` is in seconds, ``key`` the idempotency key in place of a derived one.

        Raises a ``CarrickError``; cancelling cancels the call at the peer.
        """
        self._check_request(request)
        reply: Res = await self._service(request, self._context(timeout, key, metadata))
        return reply


class ClientStreamCall(_BoundMethod[Req, Res]):
    """Many requests, one response: call it with an asynchronous iterator of requests."""

    __slots__ = ()

    async def __call__(
        self, requests: AsyncIterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> Res:
        """Make the call. Requests are asked for as the connection has room, in a task of their own.

        When the call ends before they do, they are closed. Raises a ``CarrickError``, or what ``requests`` raised;
        cancelling cancels the call at the peer.
        """
        self._check_requests(requests)
        taken = Requests(requests)
        try:
            reply: Res = await self._service(taken, self._context(timeout, None, metadata))
            return reply
        except RequestsFailedError as failed:
            error = failed.error
        finally:
            await taken.close_untaken()
        raise error


class ServerStreamCall(_BoundMethod[Req, Res]):
    """One request, many responses: call it with the request, and iterate over what it returns."""

    __slots__ = ()

    def __call__(self, request: Req, *, timeout: float | None = None, metadata: Metadata = ()) -> "ResponseStream[Res]":
        """Return the responses; the call is made when the first is asked for. ``timeout`` counts from now."""
        self._check_request(request)
        return ResponseStream(self._service, request, self._context(timeout, None, metadata))


class BidiStreamCall(_BoundMethod[Req, Res]):
    """Many requests, many responses: call it with an asynchronous iterator, and iterate over what it returns."""

    __slots__ = ()

    def __call__(
        self, requests: AsyncIterable[Req], *, timeout: float | None = None, metadata: Metadata = ()
    ) -> "ResponseStream[Res]":
        """Return the responses; the call is made when the first is asked for. ``timeout`` counts from now.

        Requests are asked for as the connection has room, in a task of their own, whether responses are read or not.
        """
        self._check_requests(requests)
        return ResponseStream(self._service, Requests(requests), self._context(timeout, None, metadata))


class ResponseStream(Generic[Res]):
    """The responses of a call: iterate over them, once, from one task.

    Each is taken from the connection when it is asked for; the peer waits when nobody does. Iterating raises a
    ``CarrickError``, or what the requests raised. To end the call before the stream does, leave an ``async with``
    block around it, or await :meth:`aclose`: a stream that is only dropped ends soon after. Cancelling the task that
    waits for a response cancels the call at the peer.
    """

    __slots__ = ("_call", "_responses")

    def __init__(self, service: Service, request: Any, ctx: Context) -> None:
        self._call = ctx.call
        self._responses: AsyncGenerator[Res, None] = _responses(service, request, ctx)

    @property
    def trailers(self) -> Metadata:
        """What the peer sent after the last response; empty before the end."""
        attempt = self._call.winner
        return attempt.trailers if attempt is not None else ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Res:
        return await self._responses.__anext__()

    async def aclose(self) -> None:
        """End the call now. Calling it again, or after the end, does nothing."""
        await self._responses.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _inherited(parent: Context | None) -> Trace | None:
    return parent.trace if parent else None


async def _responses(service: Service, request: Any, ctx: Context) -> AsyncGenerator[Any, None]:
    """Make the call and hand its responses on. The event loop closes a generator that is dropped, and so the call."""
    try:
        stream = await service(request, ctx)
        try:
            async for response in stream:
                yield response
        finally:
            await close(stream)
        return
    except RequestsFailedError as failed:
        error = failed.error
    finally:
        if isinstance(request, Requests):
            await request.close_untaken()
    raise error
