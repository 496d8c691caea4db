"""How streaming calls over real gRPC end: deadlines, cancellation, readers that leave or are slow, stops."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from carrick import (
    CarrickError,
    Code,
    Context,
    DeadlineError,
    MethodSpec,
    RemoteError,
    TransportError,
)
from carrick.context import enter
from carrick.rpc import Channel, ResponseStream, Server
from tests.integration.serving import (
    PATIENCE,
    QUICK,
    REPEATABLE_TALK,
    REPEATABLE_UPLOAD,
    TALK,
    UPLOAD,
    WATCH,
    Handling,
    Routes,
    Source,
    served,
    until,
    until_steady,
)
from tests.unit.streams import Item, item, items, numbers


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
