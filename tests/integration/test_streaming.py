"""Streaming calls over real gRPC, in all shapes: messages, trailers, errors and retries."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from carrick import (
    BreakerOptions,
    CarrickError,
    Code,
    Context,
    MethodKind,
    MethodPolicy,
    MethodSpec,
    RejectedError,
    RemoteError,
    RetryOptions,
    TransportError,
    current,
)
from carrick.context import enter
from carrick.rpc import Channel
from tests.integration.serving import (
    MANY,
    PATIENCE,
    QUICK,
    REPEATABLE_TALK,
    REPEATABLE_UPLOAD,
    REPEATABLE_WATCH,
    TALK,
    UPLOAD,
    WATCH,
    Source,
    served,
    until,
)
from tests.unit.streams import Item, item, items, numbers, streaming


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
    """A handler that yields something else is INTERNAL for the caller; the log names its type, not what it holds."""

    async def wrong(request: Item, ctx: Context) -> AsyncIterator[Any]:
        yield "swordfish"

    async with served(WATCH, wrong) as channel:
        with pytest.raises(RemoteError) as raised:
            await numbers(channel.server_stream(WATCH)(item(0)))
    assert raised.value.code is Code.INTERNAL
    assert "yielded something of type str, not a GetOrderResponse" in caplog.text
    assert "swordfish" not in caplog.text


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


async def _returning(request: Item, ctx: Context) -> list[str]:
    return ["swordfish"]


@pytest.mark.parametrize("handler", [_returning, lambda request, ctx: ["swordfish"], lambda request, ctx: None])
async def test_a_handler_that_yields_nothing_is_explained(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that returns its responses, where it is to yield them, is INTERNAL, and the log says what to do."""
    async with served(WATCH, handler) as channel:
        with pytest.raises(RemoteError) as raised:
            await numbers(channel.server_stream(WATCH)(item(0)))
    assert raised.value.code is Code.INTERNAL
    assert f"{WATCH.full_name} must yield its responses" in caplog.text
    assert "swordfish" not in caplog.text


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


@pytest.mark.parametrize("trailers", [(("X-Total", "2"),), (("x-total", 2),), {"x-total": "2"}])
async def test_trailers_that_cannot_be_sent_are_logged(trailers: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The handler's work is done: its responses arrive, and its log says what is wrong with the trailers."""

    async def count(request: Item, ctx: Context) -> AsyncIterator[Item]:
        yield item(1)
        ctx.call.trailers = trailers

    async with served(WATCH, count) as channel:
        assert await numbers(channel.server_stream(WATCH)(item(0))) == [1]
    assert "its trailers are not sent" in caplog.text
