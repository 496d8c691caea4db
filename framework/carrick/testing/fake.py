"""Fakes of services: each method records its calls and answers as it was told.

A fake is the transport of a real channel, so that everything in front of it is real: policies, contexts, errors.
Generated ``...Fake`` classes are made of these.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock
from carrick.context import Attempt, Context
from carrick.errors import CarrickError, Code, DeadlineError, RejectedError, RemoteError, TransportError
from carrick.method import MethodSpec
from carrick.rpc import Channel
from carrick.service import Service
from carrick.stream import check_streamed, close

__all__ = ["FakeBidiStream", "FakeClientStream", "FakeServerStream", "FakeUnary", "fake_channel"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

_Answer: TypeAlias = Callable[[Any, Context, Clock], AsyncIterator[Any]]
"""How a call is answered: takes its request or requests, yields its responses; one, where a method has one."""

_NOTHING: tuple[Any, ...] = ()


class _FakeMethod(Generic[Req, Res]):
    """What fakes of all shapes have.

    An answer given for a number of ``times`` is for the next calls, in the order in which they were given; one without
    holds from then on. A method that was told nothing answers ``UNIMPLEMENTED``. Every attempt of a call counts.
    """

    def __init__(self, method: MethodSpec[Req, Res]) -> None:
        self.method = method
        self.contexts: list[Context] = []
        """What each call came with: key, deadline, correlation id, metadata."""
        self._next: deque[_Answer] = deque()
        self._ever_after: _Answer = self._untold

    def hangs(self, *, times: int | None = None) -> None:
        """Never answer: the call ends at its deadline, or when it is cancelled."""

        async def hang(request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
            remaining = ctx.remaining_for_response(clock.monotonic())
            if remaining is None:
                await asyncio.Event().wait()
            else:
                await clock.sleep(remaining)
            for never in _NOTHING:  # which makes this a generator
                yield never
            raise DeadlineError(f"{self.method.full_name}: the fake hangs")

        self._tell(hang, times)

    def answer(self, request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
        """Begin the answer to a call. For the transport."""
        self.contexts.append(ctx)
        return (self._next.popleft() if self._next else self._ever_after)(self._record(request), ctx, clock)

    def _record(self, request: Any) -> Any:
        """Keep a request, or requests as they come, and return what the answer is to see of them."""
        return request

    def _tell(self, answer: _Answer, times: int | None) -> None:
        if times is None:
            self._ever_after = answer
        else:
            self._next.extend([answer] * times)

    def _fail(self, error: CarrickError | Code, after: Iterable[Res], times: int | None) -> None:
        failure = CarrickError(error, f"the fake {self.method.full_name} fails") if isinstance(error, Code) else error
        replies = list(after)

        async def fail(request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
            for reply in replies:
                yield reply
            raise failure.with_traceback(None)

        self._tell(fail, times)

    async def _untold(self, request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
        for never in _NOTHING:
            yield never
        advice = "was not told what to answer: use its returns(), computes() or fails()"
        raise CarrickError(Code.UNIMPLEMENTED, f"the fake {self.method.full_name} {advice}")


class _OneRequest(_FakeMethod[Req, Res]):
    """A method with one request."""

    def __init__(self, method: MethodSpec[Req, Res]) -> None:
        super().__init__(method)
        self.requests: list[Req] = []
        """The request of each call."""

    def _record(self, request: Any) -> Any:
        received = self.method.decode_request(self.method.encode_request(request))
        self.requests.append(received)
        return received


class _ManyRequests(_FakeMethod[Req, Res]):
    """A method with a stream of requests."""

    def __init__(self, method: MethodSpec[Req, Res]) -> None:
        super().__init__(method)
        self.requests: list[list[Req]] = []
        """The requests of each call, as far as they were read."""

    def _record(self, request: Any) -> Any:
        recorded: list[Req] = []
        self.requests.append(recorded)
        return self._recording(request, recorded)

    async def _recording(self, requests: AsyncIterator[Req], recorded: list[Req]) -> AsyncIterator[Req]:
        async for each in requests:
            check_streamed(each, self.method)
            received = self.method.decode_request(self.method.encode_request(each))
            recorded.append(received)
            yield received


class FakeUnary(_OneRequest[Req, Res]):
    """A fake method with one request and one response."""

    def returns(self, reply: Res, *, times: int | None = None) -> None:
        """Answer with this."""
        self.computes(lambda request: reply, times=times)

    def computes(self, function: Callable[[Req], Res | Awaitable[Res]], *, times: int | None = None) -> None:
        """Answer with what a function makes of the request.

        A ``CarrickError`` that it raises is the peer's answer; anything else comes out of the call as it is.
        """

        async def compute(request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
            yield await _settled(function(request))

        self._tell(compute, times)

    def fails(self, error: CarrickError | Code, *, times: int | None = None) -> None:
        """Answer with an error, as the peer's: its code is enough."""
        self._fail(error, (), times)


class FakeServerStream(_OneRequest[Req, Res]):
    """A fake method with one request and many responses."""

    def returns(self, replies: Iterable[Res], *, times: int | None = None) -> None:
        """Answer with these."""
        kept = list(replies)
        self.computes(lambda request: kept, times=times)

    def computes(
        self, function: Callable[[Req], Iterable[Res] | AsyncIterable[Res]], *, times: int | None = None
    ) -> None:
        """Answer with what a function makes of the request: an iterable, or an asynchronous one."""

        async def compute(request: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
            async for reply in _iterated(function(request)):
                yield reply

        self._tell(compute, times)

    def fails(self, error: CarrickError | Code, *, after: Iterable[Res] = (), times: int | None = None) -> None:
        """Break off with an error, ``after`` some responses."""
        self._fail(error, after, times)


class FakeClientStream(_ManyRequests[Req, Res]):
    """A fake method with many requests and one response."""

    def returns(self, reply: Res, *, times: int | None = None) -> None:
        """Answer with this when all requests are there."""
        self.computes(lambda requests: reply, times=times)

    def computes(self, function: Callable[[list[Req]], Res | Awaitable[Res]], *, times: int | None = None) -> None:
        """Answer with what a function makes of all requests."""

        async def compute(requests: Any, ctx: Context, clock: Clock) -> AsyncIterator[Any]:
            yield await _settled(function([each async for each in requests]))

        self._tell(compute, times)

    def fails(self, error: CarrickError | Code, *, times: int | None = None) -> None:
        """Answer with an error, before any request was read."""
        self._fail(error, (), times)


class FakeBidiStream(_ManyRequests[Req, Res]):
    """A fake method with many requests and many responses."""

    def returns(self, replies: Iterable[Res], *, times: int | None = None) -> None:
        """Answer with these when all requests are there. For a conversation use :meth:`computes`."""
        kept = list(replies)

        async def give(requests: AsyncIterator[Req]) -> AsyncIterator[Res]:
            async for _ in requests:
                pass
            for reply in kept:
                yield reply

        self.computes(give, times=times)

    def computes(
        self, function: Callable[[AsyncIterator[Req]], AsyncIterator[Res]], *, times: int | None = None
    ) -> None:
        """Answer as an async generator function does, which reads the requests and yields the responses."""
        self._tell(lambda requests, ctx, clock: function(requests), times)

    def fails(self, error: CarrickError | Code, *, after: Iterable[Res] = (), times: int | None = None) -> None:
        """Break off with an error, ``after`` some responses, before any request was read."""
        self._fail(error, after, times)


def fake_channel(*methods: _FakeMethod[Any, Any], clock: Clock | None = None) -> Channel:
    """Return a channel whose calls these methods answer, in memory. Policies measure time by ``clock``."""
    return Channel("fake:0", clock=clock, connect=lambda target, clock: _FakeTransport(methods, clock))


class _FakeTransport:
    """Makes the calls of a channel to fake methods."""

    def __init__(self, methods: Iterable[_FakeMethod[Any, Any]], clock: Clock) -> None:
        self._methods = {each.method: each for each in methods}
        self._clock = clock
        self._closed = False

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        """Return the Service that answers as the method's fake does."""
        fake = self._methods.get(method) or _FakeMethod(method)

        async def send(request: Any, ctx: Context) -> Any:
            assert ctx.attempt is not None
            remaining = ctx.remaining(self._clock.monotonic())
            if remaining is not None and remaining <= 0:
                raise DeadlineError(f"{method.full_name} was not sent: its deadline had passed", attempt=ctx.attempt)
            if self._closed:
                raise TransportError(Code.CANCELLED, f"{method.full_name}: the channel is closed", attempt=ctx.attempt)
            ctx.attempt.sent = True
            answer = _Answering(fake.answer(request, ctx, self._clock), request, ctx, method, self._clock)
            return await answer.begun() if method.streams_responses else await answer.only()

        return send

    async def close(self) -> None:
        """Answer no more."""
        self._closed = True


class _Answering(Generic[Res]):
    """The responses of a fake, as the stack expects them: begun, in time, of the right type, and copies.

    A computed answer has real seconds until the deadline, whatever the clock. When the responses end, the requests are
    closed, as a connection does.
    """

    def __init__(
        self,
        responses: AsyncIterator[Res],
        requests: object,
        ctx: Context,
        method: MethodSpec[Any, Res],
        clock: Clock,
    ) -> None:
        assert ctx.attempt is not None
        self._responses = responses
        self._requests = requests
        self._ctx = ctx
        self._attempt = ctx.attempt
        self._method = method
        self._clock = clock
        self._first: Res | None = None
        self._begun = False

    async def only(self) -> Res:
        """Return the one response, and mark the attempt as answered."""
        reply = await self._next()
        await self.aclose()
        self._attempt.code = Code.OK
        return reply

    async def begun(self) -> "_Answering[Res]":
        """Wait for the first response, or the end."""
        with suppress(StopAsyncIteration):
            self._first = await self._next()
        self._begun = True
        return self

    def __aiter__(self) -> "_Answering[Res]":
        return self

    async def __anext__(self) -> Res:
        first, self._first = self._first, None
        return first if first is not None else await self._next()

    async def aclose(self) -> None:
        """End the answer."""
        await close(self._responses)
        if self._method.streams_requests:  # one request may have a field called aclose
            await close(self._requests)

    async def _next(self) -> Res:
        try:
            async with asyncio.timeout(self._remaining(self._clock.monotonic())) as deadline:
                return self._copy(await self._responses.__anext__())
        except TimeoutError:
            await self.aclose()
            if deadline.expired():
                late = DeadlineError(f"{self._method.full_name}: the fake took too long")
                raise _received(late, self._attempt) from None
            raise
        except CarrickError as error:
            await self.aclose()
            raise _received(error, self._attempt) from None
        except BaseException:
            await self.aclose()
            raise

    def _remaining(self, now: float) -> float | None:
        """Return the seconds left for the next response: the first one has those of the attempt."""
        return self._ctx.remaining(now) if self._begun else self._ctx.remaining_for_response(now)

    def _copy(self, reply: Res) -> Res:
        if not isinstance(reply, self._method.response):
            raise TypeError(
                f"the fake {self._method.full_name} answers with a {self._method.response.__name__}, not a "
                f"{type(reply).__name__}"
            )
        return self._method.decode_response(self._method.encode_response(reply))


def _received(error: CarrickError, attempt: Attempt) -> CarrickError:
    """Return an error as a caller gets it: a handler's own as the peer's status, any other as it is."""
    attempt.sent = not isinstance(error, RejectedError)
    attempt.code = error.code
    if type(error) is CarrickError:
        return RemoteError(error.code, error.message, error.details, attempt=attempt)
    error.attempt = attempt
    return error


async def _settled(value: Any) -> Any:
    if isinstance(value, Message):  # first: a message may have a field __class__, which misleads the other question
        return value
    return await value if inspect.isawaitable(value) else value


async def _iterated(values: Any) -> AsyncIterator[Any]:
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value
