"""Streaming calls over real gRPC, in all shapes: messages, trailers, errors, retries, deadlines, cancellation."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from carrick import (
    BreakerOptions,
    CarrickError,
    Code,
    Context,
    DeadlineError,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    MethodRoute,
    MethodSpec,
    RejectedError,
    RemoteError,
    RetryOptions,
    TransportError,
    current,
)
from carrick.context import enter
from carrick.rpc import Channel, ResponseStream, Server
from tests.unit.streams import Item, item, items, numbers, streaming

QUICK = MethodPolicy(retry=RetryOptions(initial_backoff=0.001))
MANY = 1000
PATIENCE = 10.0

UPLOAD = streaming(MethodKind.CLIENT_STREAM)
WATCH = streaming(MethodKind.SERVER_STREAM)
TALK = streaming(MethodKind.BIDI_STREAM)
REPEATABLE_UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
REPEATABLE_WATCH = streaming(MethodKind.SERVER_STREAM, idempotency=IdempotencyLevel.NO_SIDE_EFFECTS)
REPEATABLE_TALK = streaming(MethodKind.BIDI_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)


class Routes:
    """A servicer of one method."""

    def __init__(self, spec: MethodSpec[Item, Item], handler: Any) -> None:
        self._route = MethodRoute(spec, handler)

    def routes(self) -> tuple[MethodRoute[Item, Item], ...]:
        """Return the one route."""
        return (self._route,)


@asynccontextmanager
async def served(spec: MethodSpec[Item, Item], handler: Any, **options: Any) -> AsyncIterator[Channel]:
    """Serve one method, and give a channel to it."""
    async with Server(Routes(spec, handler)) as server, Channel(server.address, **options) as channel:
        yield channel


async def until(event: asyncio.Event) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


class Handling:
    """A handler that streams for ever, and tells when it began and when it was ended."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.yielded = 0

    async def watch(self, request: Item, ctx: Context) -> AsyncIterator[Item]:
        """Yield as fast as the peer takes it."""
        self.begun.set()
        try:
            while True:
                self.yielded += 1
                yield request
        finally:
            self.ended.set()

    async def hang(self, request: Any, ctx: Context) -> AsyncIterator[Item]:
        """Yield nothing."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield item(0)
        finally:
            self.ended.set()


class Source:
    """Requests that go on for ever, or until they are to pause; it tells when they were closed."""

    def __init__(self, pause_after: int | None = None, size: int = 0) -> None:
        self.asked = 0
        self.closed = asyncio.Event()
        self._pause_after = pause_after
        self._size = size

    async def __call__(self) -> AsyncIterator[Item]:
        """Yield the requests."""
        try:
            while self.asked != self._pause_after:
                self.asked += 1
                yield item(self.asked, self._size)
                await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def test_many_requests_one_response() -> None:
    """A client stream arrives whole and in order, and gets one reply."""

    async def total(requests: AsyncIterator[Item], ctx: Context) -> Item:
        received = await numbers(requests)
        assert received == list(range(MANY))
        return item(sum(received))

    async with served(UPLOAD, total) as channel:
        assert await channel.client_stream(UPLOAD)(items(MANY)) == item(sum(range(MANY)))


async def test_one_request_many_responses() -> None:
    """A server stream arrives whole and in order."""

    async def count(request: Item, ctx: Context) -> AsyncIterator[Item]:
        async for each in items(request.total):
            yield each

    async with served(WATCH, count) as channel:
        assert await numbers(channel.server_stream(WATCH)(item(MANY))) == list(range(MANY))


async def test_both_directions_take_turns() -> None:
    """On a bidirectional stream each response can depend on the request before it, and the other way round."""
    answers: asyncio.Queue[int] = asyncio.Queue()

    async def questions() -> AsyncIterator[Item]:
        yield item(1)
        for _ in range(20):
            yield item(await answers.get() * 2)

    async def successors(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        async for request in requests:
            yield item(request.total + 1)

    seen = []
    async with served(TALK, successors) as channel:
        async for reply in channel.bidi_stream(TALK)(questions()):
            seen.append(reply.total)
            answers.put_nowait(reply.total)
    assert seen[:4] == [2, 5, 11, 23]
    assert len(seen) == 21


@pytest.mark.parametrize("spec", [UPLOAD, TALK])
async def test_no_requests_at_all(spec: MethodSpec[Item, Item]) -> None:
    """An empty stream of requests is a stream too."""

    async def total(requests: AsyncIterator[Item], ctx: Context) -> Item:
        return item(len(await numbers(requests)) + 7)

    async def talk(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        yield await total(requests, ctx)

    async with served(spec, total if spec is UPLOAD else talk) as channel:
        if spec is UPLOAD:
            assert await channel.client_stream(spec)(items(0)) == item(7)
        else:
            assert await numbers(channel.bidi_stream(spec)(items(0))) == [7]


async def test_no_responses_at_all() -> None:
    """A stream that ends without a response ends the iteration, and stays ended."""

    async def nothing(request: Item, ctx: Context) -> AsyncIterator[Item]:
        for _ in ():
            yield request

    async with served(WATCH, nothing) as channel:
        stream = channel.server_stream(WATCH)(item(0))
        assert await numbers(stream) == []
        assert await numbers(stream) == []


async def test_default_messages_are_messages() -> None:
    """A message without any field set has no bytes, and is still one message."""

    async def defaults(request: Item, ctx: Context) -> AsyncIterator[Item]:
        for _ in range(3):
            yield Item()

    async with served(WATCH, defaults) as channel:
        assert [each async for each in channel.server_stream(WATCH)(Item())] == [Item()] * 3


async def test_trailers_come_with_the_end() -> None:
    """What the handler adds while it streams can be read when the stream has ended, and not before."""

    async def count(request: Item, ctx: Context) -> AsyncIterator[Item]:
        yield item(1)
        yield item(2)
        ctx.call.trailers += (("x-total", "2"),)

    async with served(WATCH, count) as channel:
        stream = channel.server_stream(WATCH)(item(0))
        assert (await anext(stream)).total == 1
        assert stream.trailers == ()
        assert await numbers(stream) == [2]
    assert ("x-total", "2") in stream.trailers


async def test_a_stream_that_breaks_off_raises_after_its_messages() -> None:
    """Messages before an error are delivered; the error has its code, its trailers, and is not tried again."""
    begun = 0

    async def break_off(request: Item, ctx: Context) -> AsyncIterator[Item]:
        nonlocal begun
        begun += 1
        yield item(1)
        yield item(2)
        ctx.call.trailers += (("x-got", "2"),)
        raise CarrickError(Code.UNAVAILABLE, "gone")

    async with served(REPEATABLE_WATCH, break_off, policy=QUICK) as channel:
        stream = channel.server_stream(REPEATABLE_WATCH)(item(0))
        assert [(await anext(stream)).total, (await anext(stream)).total] == [1, 2]
        with pytest.raises(RemoteError) as raised:
            await anext(stream)
    assert begun == 1
    assert (raised.value.code, raised.value.message) == (Code.UNAVAILABLE, "gone")
    assert ("x-got", "2") in stream.trailers


@pytest.mark.parametrize(("spec", "attempts"), [(WATCH, 1), (REPEATABLE_WATCH, 3)])
async def test_a_stream_is_tried_again_until_its_first_response(spec: MethodSpec[Item, Item], attempts: int) -> None:
    """What fails before the first message is tried again, where the contract says that repeating does no harm."""
    begun = 0

    async def later(request: Item, ctx: Context) -> AsyncIterator[Item]:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise CarrickError(Code.UNAVAILABLE, "not yet")
        yield request

    async with served(spec, later, policy=QUICK) as channel:
        stream = channel.server_stream(spec)(item(5))
        if attempts == 1:
            with pytest.raises(RemoteError):
                await anext(stream)
        else:
            assert await numbers(stream) == [5]
    assert begun == attempts


async def test_requests_are_sent_again_from_the_first() -> None:
    """An attempt after a failed one gets every request, though the source is read once."""
    received: list[list[int]] = []
    asked = 0

    async def source() -> AsyncIterator[Item]:
        nonlocal asked
        message = Item()
        for number in range(10):  # one object for all of them: what was yielded before must not change
            message.total = number
            asked += 1
            yield message

    async def third_time(requests: AsyncIterator[Item], ctx: Context) -> Item:
        received.append([])
        async for request in requests:
            received[-1].append(request.total)
            if len(received) < 3 and len(received[-1]) == 3 * len(received):
                raise CarrickError(Code.UNAVAILABLE, "not yet")
        return item(sum(received[-1]))

    async with served(REPEATABLE_UPLOAD, third_time, policy=QUICK) as channel:
        assert await channel.client_stream(REPEATABLE_UPLOAD)(source()) == item(45)
    assert received == [[0, 1, 2], [0, 1, 2, 3, 4, 5], list(range(10))]
    assert asked == 10


async def test_both_directions_are_tried_again_until_the_first_response() -> None:
    """A bidirectional stream that fails before it has answered begins anew, with the same requests."""
    begun = 0

    async def second_time(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        nonlocal begun
        begun += 1
        async for request in requests:
            if begun == 1 and request.total == 2:
                raise CarrickError(Code.UNAVAILABLE, "not yet")
            if begun == 2:
                yield request

    async with served(REPEATABLE_TALK, second_time, policy=QUICK) as channel:
        assert await numbers(channel.bidi_stream(REPEATABLE_TALK)(items(MANY))) == list(range(MANY))
    assert begun == 2


async def test_more_requests_than_are_kept_are_not_sent_again() -> None:
    """A call whose requests did not fit into the replay buffer fails with its first error."""
    begun = 0

    async def fail_late(requests: AsyncIterator[Item], ctx: Context) -> Item:
        nonlocal begun
        begun += 1
        await numbers(requests)
        raise CarrickError(Code.UNAVAILABLE, "not yet")

    policy = MethodPolicy(retry=RetryOptions(initial_backoff=0.001, replay_bytes=100))
    async with served(REPEATABLE_UPLOAD, fail_late, policy=policy) as channel:
        with pytest.raises(RemoteError):
            await channel.client_stream(REPEATABLE_UPLOAD)(items(100))
    assert begun == 1


@pytest.mark.parametrize("spec", [UPLOAD, TALK, REPEATABLE_UPLOAD, REPEATABLE_TALK])
async def test_an_error_of_the_requests_is_the_callers(spec: MethodSpec[Item, Item]) -> None:
    """What the source of the requests raises comes out of the call, and cancels the handler."""
    ended = asyncio.Event()

    async def broken() -> AsyncIterator[Item]:
        yield item(1)
        raise ValueError("no more")

    async def receive(requests: AsyncIterator[Item], ctx: Context) -> Item:
        try:
            await numbers(requests)
        finally:
            ended.set()
        return item(0)

    async def talk(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        yield await receive(requests, ctx)

    unary = spec.kind is MethodKind.CLIENT_STREAM
    async with served(spec, receive if unary else talk, policy=QUICK) as channel:
        call = channel.client_stream(spec)(broken()) if unary else numbers(channel.bidi_stream(spec)(broken()))
        with pytest.raises(ValueError, match="no more"):
            await call
        await until(ended)


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD])
@pytest.mark.parametrize("error", [BaseException("odd"), GeneratorExit(), asyncio.CancelledError()])
async def test_an_error_that_is_no_exception_ends_the_call_too(spec: MethodSpec[Item, Item], error: Any) -> None:
    """What the source raises is the caller's, whatever it is: the call does not wait for more requests."""

    async def broken() -> AsyncIterator[Item]:
        yield item(1)
        raise error

    async with served(spec, lambda requests, ctx: numbers(requests), policy=QUICK) as channel:
        with pytest.raises(type(error)):
            await channel.client_stream(spec)(broken())


@pytest.mark.parametrize("spec", [UPLOAD, TALK, REPEATABLE_UPLOAD, REPEATABLE_TALK])
async def test_requests_that_fail_when_the_call_is_over_do_not_hide_its_end(
    spec: MethodSpec[Item, Item], caplog: pytest.LogCaptureFixture
) -> None:
    """The peer's status goes before an error of the source's own closing, which is logged."""
    closed = asyncio.Event()

    async def unclosable() -> AsyncIterator[Item]:
        try:
            yield item(1)
            await asyncio.Event().wait()
        finally:
            closed.set()
            raise OSError("can't close")

    async def refuse(requests: AsyncIterator[Item], ctx: Context) -> Item:
        await anext(requests)
        raise CarrickError(Code.NOT_FOUND, "no such thing")

    async def talk(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        yield await refuse(requests, ctx)

    unary = spec.kind is MethodKind.CLIENT_STREAM
    async with served(spec, refuse if unary else talk, policy=QUICK) as channel:
        call = channel.client_stream(spec)(unclosable()) if unary else numbers(channel.bidi_stream(spec)(unclosable()))
        with pytest.raises(RemoteError, match="no such thing"):
            await call
        await until(closed)
    assert "can't close" in caplog.text


@pytest.mark.parametrize("spec", [UPLOAD, TALK])
async def test_a_call_that_grpc_refuses_to_make_closes_its_requests(spec: MethodSpec[Item, Item]) -> None:
    """Metadata that is none is a TypeError, and no task goes on waiting to send."""
    source: Any = Source()
    requests = source()
    await anext(requests)
    async with served(spec, numbers) as channel:
        call = getattr(channel, spec.kind.value)(spec)(requests, metadata=(("x-number", 5),))
        with pytest.raises(TypeError):
            await (call if spec is UPLOAD else anext(call))
    assert source.closed.is_set()


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD, TALK])
async def test_a_call_on_a_closed_channel_closes_its_requests(spec: MethodSpec[Item, Item]) -> None:
    """It was never made, and still its end is theirs."""
    source: Any = Source()
    requests = source()
    await anext(requests)
    async with served(spec, numbers) as channel:
        pass
    call = getattr(channel, spec.kind.value)(spec)(requests)
    with pytest.raises(TransportError, match="the channel is closed"):
        await (anext(call) if spec is TALK else call)
    assert source.closed.is_set()


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD, TALK])
@pytest.mark.parametrize("timeout", [0.0, None])
async def test_a_call_that_is_refused_before_it_is_made_closes_its_requests(
    spec: MethodSpec[Item, Item], timeout: float | None
) -> None:
    """Whatever refuses it, the deadline or an open circuit, with a policy for retries or without."""
    policy = MethodPolicy(retry=QUICK.retry, breaker=BreakerOptions(min_calls=1, failure_ratio=0.1))
    async with Channel("127.0.0.1:1", policy=policy) as channel:
        call: Any = getattr(channel, spec.kind.value)(spec)
        for _ in range(2):  # the first opens the circuit of its method
            source: Any = Source()
            requests = source()
            await anext(requests)
            begun = call(requests, timeout=timeout)
            with pytest.raises(CarrickError):
                await (anext(begun) if spec is TALK else begun)
            await asyncio.wait_for(source.closed.wait(), 5)


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD])
async def test_a_request_of_a_wrong_type_is_refused(spec: MethodSpec[Item, Item]) -> None:
    """A message of another type in a stream is a TypeError, and so are requests that are no stream."""

    async def wrong() -> AsyncIterator[Any]:
        yield object()

    async with served(spec, lambda requests, ctx: numbers(requests), policy=QUICK) as channel:
        with pytest.raises(TypeError, match="takes a stream of"):
            await channel.client_stream(spec)(wrong())
        with pytest.raises(TypeError, match="asynchronous iterator"):
            await channel.client_stream(spec)([item(1)])  # type: ignore[arg-type]


async def test_a_response_of_a_wrong_type_is_the_handlers_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that yields something else is INTERNAL for the caller, and explained in the log."""

    async def wrong(request: Item, ctx: Context) -> AsyncIterator[Any]:
        yield 1

    async with served(WATCH, wrong) as channel:
        with pytest.raises(RemoteError) as raised:
            await numbers(channel.server_stream(WATCH)(item(0)))
    assert raised.value.code is Code.INTERNAL
    assert "yielded 1" in caplog.text


async def _garbage(request: Any, context: Any) -> bytes:
    return b"\xff"


async def _late_garbage(request: Any, context: Any) -> AsyncIterator[bytes]:
    yield item(1).SerializeToString()
    yield b"\xff"


@pytest.mark.parametrize("kind", list(MethodKind))
async def test_an_answer_that_cannot_be_read_is_an_error(kind: MethodKind) -> None:
    """A peer that answers with something else than the message is a TransportError in each shape, never a None."""
    spec = streaming(kind)
    makers: dict[MethodKind, Any] = {
        MethodKind.UNARY: grpc.unary_unary_rpc_method_handler(_garbage),
        MethodKind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler(_garbage),
        MethodKind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler(_late_garbage),
        MethodKind.BIDI_STREAM: grpc.stream_stream_rpc_method_handler(_late_garbage),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(spec.service, {spec.name: makers[kind]}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Channel(f"127.0.0.1:{port}") as channel:
        reply = getattr(channel, kind.value)(spec)(items(3) if spec.streams_requests else item(0))
        if spec.streams_responses:
            assert await anext(reply) == item(1)
        with pytest.raises(TransportError, match="can't be read") as raised:
            await (anext(reply) if spec.streams_responses else reply)
    await server.stop(None)
    assert raised.value.code is Code.INTERNAL


async def _returning(request: Item, ctx: Context) -> list[Item]:
    return [request]


@pytest.mark.parametrize("handler", [_returning, lambda request, ctx: [request], lambda request, ctx: None])
async def test_a_handler_that_yields_nothing_is_explained(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that returns its responses, where it is to yield them, is INTERNAL, and the log says what to do."""
    async with served(WATCH, handler) as channel:
        with pytest.raises(RemoteError) as raised:
            await numbers(channel.server_stream(WATCH)(item(0)))
    assert raised.value.code is Code.INTERNAL
    assert f"{WATCH.full_name} must yield its responses" in caplog.text


@pytest.mark.parametrize("after", [0, 1])
async def test_a_handler_that_raises_no_exception_is_answered_for(after: int) -> None:
    """What a handler raises is INTERNAL for its caller, whatever it is: nobody waits for ever."""

    async def odd(request: Item, ctx: Context) -> AsyncIterator[Item]:
        for number in range(after):
            yield item(number)
        raise BaseException("odd")  # as pytest.fail() does

    async with served(WATCH, odd) as channel:
        with pytest.raises(RemoteError) as raised:
            await numbers(channel.server_stream(WATCH)(item(0), timeout=PATIENCE))
    assert raised.value.code is Code.INTERNAL


async def test_the_deadline_ends_a_stream_on_both_sides() -> None:
    """The reader gets a DeadlineError while it waits, and the handler is ended."""
    handling = Handling()
    async with served(WATCH, handling.hang) as channel:
        with pytest.raises(DeadlineError):
            await numbers(channel.server_stream(WATCH)(item(0), timeout=0.1))
        await until(handling.ended)


async def test_the_deadline_ends_a_stream_of_requests() -> None:
    """A call that still sends at its deadline raises DeadlineError, and closes its source."""
    source = Source(pause_after=3)

    async def receive(requests: AsyncIterator[Item], ctx: Context) -> Item:
        return item(len(await numbers(requests)))

    async with served(UPLOAD, receive) as channel:
        with pytest.raises(DeadlineError):
            await channel.client_stream(UPLOAD)(source(), timeout=0.1)
        assert source.closed.is_set()


async def test_streams_have_no_deadline_unless_given_one() -> None:
    """The default timeout is for unary calls; a stream inherits the deadline of what is being handled."""
    deadlines: list[float | None] = []

    async def tell(request: Item, ctx: Context) -> AsyncIterator[Item]:
        deadlines.append(ctx.deadline)
        yield request

    async with served(WATCH, tell) as channel:
        call = channel.server_stream(WATCH)
        await numbers(call(item(0)))
        with enter(Context(None, deadline=asyncio.get_running_loop().time() + 60)):
            await numbers(call(item(0)))
    assert deadlines[0] is None
    assert deadlines[1] is not None


async def test_cancelling_the_reader_ends_the_handler() -> None:
    """A cancelled task raises CancelledError and takes the handler with it."""
    handling = Handling()
    async with served(WATCH, handling.hang) as channel:
        reader = asyncio.create_task(numbers(channel.server_stream(WATCH)(item(0))))
        await until(handling.begun)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await until(handling.ended)


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD])
async def test_cancelling_a_sender_closes_its_source(spec: MethodSpec[Item, Item]) -> None:
    """A cancelled client stream ends the handler and closes the requests, retried or not."""
    source, ended = Source(pause_after=3), asyncio.Event()

    async def receive(requests: AsyncIterator[Item], ctx: Context) -> Item:
        try:
            return item(len(await numbers(requests)))
        finally:
            ended.set()

    async with served(spec, receive, policy=QUICK) as channel:
        sending = asyncio.ensure_future(channel.client_stream(spec)(source()))
        await until_steady(lambda: source.asked)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(source.closed)
        await until(ended)


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD])
async def test_an_early_reply_closes_the_source(spec: MethodSpec[Item, Item]) -> None:
    """A server that has heard enough answers, and the rest of the requests is not asked for."""
    source = Source()

    async def first(requests: AsyncIterator[Item], ctx: Context) -> Item:
        return await anext(aiter(requests))

    async with served(spec, first, policy=QUICK) as channel:
        assert await channel.client_stream(spec)(source()) == item(1)
        await until(source.closed)


async def _leave(stream: ResponseStream[Item]) -> None:
    async with stream:
        await anext(stream)


async def _close(stream: ResponseStream[Item]) -> None:
    await anext(stream)
    await stream.aclose()
    assert await numbers(stream) == []


async def _drop(stream: ResponseStream[Item]) -> None:
    async for _ in stream:
        break


@pytest.mark.parametrize("spec", [WATCH, TALK, REPEATABLE_TALK])
@pytest.mark.parametrize("leave", [_leave, _close, _drop])
async def test_leaving_a_stream_early_ends_the_call(
    spec: MethodSpec[Item, Item], leave: Callable[[ResponseStream[Item]], Any]
) -> None:
    """Leaving the block, closing and dropping a stream end the handler, and close the requests."""
    handling, source = Handling(), Source()

    async def talk(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        async for each in handling.watch(item(1), ctx):
            yield each

    async with served(spec, handling.watch if spec is WATCH else talk, policy=QUICK) as channel:
        if spec is WATCH:
            await leave(channel.server_stream(spec)(item(0)))
        else:
            await leave(channel.bidi_stream(spec)(source()))
            gc.collect()
            await until(source.closed)
        gc.collect()
        await until(handling.ended)


async def test_a_handlers_stream_is_closed_whatever_it_is() -> None:
    """A handler may return any iterator; one that can be closed is closed when its reader has left."""
    closed = asyncio.Event()

    class Endless:
        def __aiter__(self) -> AsyncIterator[Item]:
            return self

        async def __anext__(self) -> Item:
            return item(1)

        async def aclose(self) -> None:
            closed.set()

    async with served(WATCH, lambda request, ctx: Endless()) as channel:
        await _leave(channel.server_stream(WATCH)(item(0)))
        await until(closed)


async def test_a_slow_reader_holds_the_handler_back() -> None:
    """A handler gets ahead of its reader by what the connection buffers, and no further."""
    handling = Handling()
    async with served(WATCH, handling.watch) as channel, channel.server_stream(WATCH)(item(0, 10_000)) as stream:
        await anext(stream)
        await until_steady(lambda: handling.yielded)
        ahead = handling.yielded
        for _ in range(ahead + 10):
            await anext(stream)
    assert ahead < 1000
    assert handling.yielded > ahead


@pytest.mark.parametrize("spec", [UPLOAD, REPEATABLE_UPLOAD])
async def test_a_slow_handler_holds_the_requests_back(spec: MethodSpec[Item, Item]) -> None:
    """Requests are not asked for when the peer does not take them."""
    source, go_on = Source(size=10_000), asyncio.Event()

    async def receive(requests: AsyncIterator[Item], ctx: Context) -> Item:
        await go_on.wait()
        async for request in requests:
            if request.total > 2000:
                return request
        raise AssertionError

    async with served(spec, receive, policy=QUICK) as channel:
        sending = asyncio.ensure_future(channel.client_stream(spec)(source()))
        await until_steady(lambda: source.asked)
        ahead = source.asked
        go_on.set()
        assert (await sending).total == 2001
    assert 0 < ahead < 1000


async def until_steady(value: Callable[[], int]) -> None:
    """Wait until a number above 0 has not changed for a while."""
    async with asyncio.timeout(PATIENCE):
        seen, since = -1, 0
        while since < 20:
            await asyncio.sleep(0.01)
            since = since + 1 if value() == seen and seen > 0 else 0
            seen = value()


async def test_the_handlers_context_is_current_until_its_stream_ends() -> None:
    """Between all its yields a handler's own calls inherit what it was called with; the reader's code does not."""
    seen: list[str | None] = []

    async def tell(request: Item, ctx: Context) -> AsyncIterator[Item]:
        for number in range(3):
            inner = current()
            seen.append(inner.correlation_id if inner else None)
            yield item(number)

    async with served(WATCH, tell) as channel:
        with enter(Context(None, correlation_id="corr")):
            stream = channel.server_stream(WATCH)(item(0))
        async for _ in stream:
            assert current() is None
    assert seen == ["corr"] * 3


async def test_streams_that_break_off_open_the_circuit() -> None:
    """A stream that breaks off counts against its endpoint, though it began well."""

    async def break_off(request: Item, ctx: Context) -> AsyncIterator[Item]:
        yield item(1)
        raise CarrickError(Code.UNAVAILABLE, "gone")

    policy = MethodPolicy(breaker=BreakerOptions(min_calls=4, failure_ratio=0.5, open_for=60))
    async with served(WATCH, break_off, policy=policy) as channel:
        call = channel.server_stream(WATCH)
        for _ in range(2):
            with pytest.raises(RemoteError):
                await numbers(call(item(0)))
        with pytest.raises(RejectedError):
            await numbers(call(item(0)))


async def test_a_stop_lets_a_stream_end_and_cuts_off_what_does_not() -> None:
    """A running stream has the server's grace; a handler that goes on is then ended, and its reader told."""
    handling = Handling()
    async with Server(Routes(WATCH, handling.watch), grace=0.2) as server, Channel(server.address) as channel:
        stream = channel.server_stream(WATCH)(item(0))
        await anext(stream)
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(CarrickError) as raised:
            async for _ in stream:
                pass
        await stopping
    assert handling.ended.is_set()
    assert raised.value.code in (Code.UNAVAILABLE, Code.CANCELLED)


async def test_closing_the_channel_ends_its_streams() -> None:
    """A reader whose channel is closed gets a TransportError, and the handler is ended."""
    handling = Handling()
    async with Server(Routes(WATCH, handling.hang)) as server:
        channel = Channel(server.address)
        reading = asyncio.create_task(numbers(channel.server_stream(WATCH)(item(0))))
        await until(handling.begun)
        await channel.close()
        with pytest.raises(TransportError):
            await reading
        await until(handling.ended)


async def test_nothing_is_left_behind() -> None:
    """When calls of all endings are over, no task of theirs is there any more."""

    async def talk(requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        async for each in requests:
            if each.total == 5:
                raise CarrickError(Code.ABORTED, "enough")
            yield each

    async with Server(Routes(REPEATABLE_TALK, talk)) as server, Channel(server.address, policy=QUICK) as channel:
        before = asyncio.all_tasks()

        def left() -> list[asyncio.Task[Any]]:
            return [each for each in asyncio.all_tasks() - before if "AioServer" not in repr(each)]  # grpc's own

        for _ in range(20):
            with pytest.raises(RemoteError):
                await numbers(channel.bidi_stream(REPEATABLE_TALK)(Source()()))
            await _leave(channel.bidi_stream(REPEATABLE_TALK)(Source()()))
            await numbers(channel.bidi_stream(REPEATABLE_TALK)(items(3)))
        if tasks := left():
            await asyncio.wait(tasks, timeout=PATIENCE)
        assert left() == []
