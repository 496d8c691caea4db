"""Limits over the wire: messages and metadata that are too large, in both directions, at both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from carrick import CarrickError, Code, Context, MethodKind, MethodPolicy, RemoteError, TransportError
from carrick.rpc import Channel, Server
from tests.integration.serving import Routes
from tests.unit.streams import Item, item, numbers, streaming
from tests.unit.testing.programs import until

LARGE = 3000
"""Of a message or of metadata, in bytes; the limits in these tests are 1000 below and above."""
ONCE = MethodPolicy()
UNARY = streaming(MethodKind.UNARY, policy=ONCE)
UPLOAD = streaming(MethodKind.CLIENT_STREAM, policy=ONCE)
WATCH = streaming(MethodKind.SERVER_STREAM, policy=ONCE)
TALK = streaming(MethodKind.BIDI_STREAM, policy=ONCE)
SHAPES = {spec.kind: spec for spec in (UNARY, UPLOAD, WATCH, TALK)}


class Handlers:
    """Answers with messages, trailers or an error of a size, in any shape."""

    def __init__(self, *, reply: int = 0, trailers: int = 0, error: bool = False) -> None:
        self.called = 0
        self._reply = item(1, reply)
        self._trailers = (("x-large", "t" * trailers),) if trailers else ()
        self._error = error

    def route(self, kind: MethodKind) -> Any:
        """Return a servicer of the one method."""
        handler: Any = self.many if SHAPES[kind].streams_responses else self.one
        return Routes(SHAPES[kind], handler)

    async def one(self, request: Any, ctx: Context) -> Item:
        """Answer with one."""
        if SHAPES[UPLOAD.kind] is ctx.method:
            async for _ in request:
                pass
        self._begin(ctx)
        return self._reply

    async def many(self, request: Any, ctx: Context) -> AsyncIterator[Item]:
        """Answer with a small one and one of the size."""
        if SHAPES[TALK.kind] is ctx.method:
            async for _ in request:
                pass
        self._begin(ctx)
        yield item(0)
        yield self._reply

    def _begin(self, ctx: Context) -> None:
        self.called += 1
        ctx.call.trailers = self._trailers
        if self._error:
            raise CarrickError(Code.NOT_FOUND, "not there")


@asynccontextmanager
async def serving(
    handlers: Handlers, kind: MethodKind, *, server: dict[str, Any] | None = None, channel: dict[str, Any] | None = None
) -> AsyncIterator[Channel]:
    """Serve, and give a channel."""
    async with (
        Server(handlers.route(kind), **(server or {})) as running,
        Channel(running.address, **(channel or {})) as to_it,
    ):
        yield to_it


async def call(channel: Channel, kind: MethodKind, request: Item, **options: Any) -> list[int]:
    """Call with one request, or a stream of it, and return the numbers of the responses."""

    async def requests() -> AsyncIterator[Item]:
        yield request

    spec = SHAPES[kind]
    match kind:
        case MethodKind.UNARY:
            return [(await channel.unary(spec)(request, **options)).total]
        case MethodKind.CLIENT_STREAM:
            return [(await channel.client_stream(spec)(requests(), **options)).total]
        case MethodKind.SERVER_STREAM:
            return await numbers(channel.server_stream(spec)(request, **options))
        case MethodKind.BIDI_STREAM:
            return await numbers(channel.bidi_stream(spec)(requests(), **options))


@pytest.mark.parametrize("kind", MethodKind)
async def test_a_request_above_the_servers_limit(kind: MethodKind) -> None:
    """RESOURCE_EXHAUSTED with both sizes, and the handler does not see it; one below the limit passes.

    On a bidirectional stream, the end of the requests is all that the handler may see.
    """
    for most, passes in ((LARGE - 1000, False), (LARGE + 1000, True)):
        handlers = Handlers()
        async with serving(handlers, kind, server={"max_message_bytes": most}) as channel:
            if passes:
                assert await call(channel, kind, item(0, LARGE))
                continue
            with pytest.raises(RemoteError, match=rf"larger than max \(30\d\d vs\. {most}\)") as caught:
                await call(channel, kind, item(0, LARGE))
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
        assert handlers.called == 0 or kind is MethodKind.BIDI_STREAM


async def test_a_part_of_the_requests_is_not_taken_for_the_whole() -> None:
    """A handler that acts when all requests are there does not act when one of them was too large."""
    acted, ended = 0, 0

    async def handler(requests: AsyncIterator[Item], ctx: Context) -> Item:
        nonlocal acted, ended
        try:
            async for _ in requests:
                pass
            acted += 1
            return Item()
        finally:
            ended += 1

    async def some(last: Item) -> AsyncIterator[Item]:
        yield item(0)
        await asyncio.sleep(0)
        yield last

    async with (
        Server(Routes(UPLOAD, handler), max_message_bytes=LARGE - 1000) as server,
        Channel(server.address) as channel,
    ):
        upload = channel.client_stream(UPLOAD)
        for _ in range(10):
            with pytest.raises(RemoteError) as caught:
                await upload(some(item(0, LARGE)))
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
        await until(lambda: ended == 10)
        assert acted == 0
        await upload(some(item(1)))
        assert acted == 1


@pytest.mark.parametrize("kind", MethodKind)
async def test_a_reply_above_the_servers_limit(kind: MethodKind, caplog: pytest.LogCaptureFixture) -> None:
    """RESOURCE_EXHAUSTED that says whose limit it was, and the server's log says which method and what to do."""
    handlers = Handlers(reply=LARGE)
    async with serving(handlers, kind, server={"max_message_bytes": LARGE - 1000}) as channel:
        with pytest.raises(RemoteError) as caught:
            await call(channel, kind, item(0))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    complaint = f"{SHAPES[kind].full_name}: its reply of 3005 bytes is above the limit of 2000"
    assert caught.value.message == complaint
    assert f"{complaint}; send less, or give the server another max_message_bytes" in caplog.text
    assert handlers.called == 1


@pytest.mark.parametrize("kind", MethodKind)
async def test_a_reply_above_the_channels_limit(kind: MethodKind) -> None:
    """A TransportError that says so: the peer has answered, and the channel did not take it."""
    for most, passes in ((LARGE - 1000, False), (LARGE + 1000, True)):
        async with serving(Handlers(reply=LARGE), kind, channel={"max_message_bytes": most}) as channel:
            if passes:
                assert (await call(channel, kind, item(0)))[-1] == 1
                continue
            with pytest.raises(TransportError, match=r"too large for this channel: .*max_message_bytes") as caught:
                await call(channel, kind, item(0))
        assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("kind", MethodKind)
async def test_metadata_above_the_servers_limit(kind: MethodKind) -> None:
    """RESOURCE_EXHAUSTED each time, and never the handler; gRPC's own limits would refuse some calls at random."""
    handlers = Handlers()
    metadata = (("x-large", "secret" * (LARGE // 6)),)
    async with serving(handlers, kind, server={"max_metadata_bytes": LARGE - 200}) as channel:
        for _ in range(3):
            with pytest.raises(RemoteError, match="received metadata size exceeds") as caught:
                await call(channel, kind, item(0), metadata=metadata)
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            assert "secret" not in caught.value.message
        assert handlers.called == 0
        assert await call(channel, kind, item(0))  # the connection is still good
    async with serving(handlers, kind, server={"max_metadata_bytes": LARGE + 1000}) as channel:
        for _ in range(3):
            assert await call(channel, kind, item(0), metadata=metadata)


async def test_metadata_of_twelve_kibibytes_passes_each_time() -> None:
    """The default is 16 KiB, and gRPC's own soft limit of half that does not come into it."""
    async with serving(Handlers(), MethodKind.UNARY) as channel:
        for _ in range(20):
            assert await call(channel, MethodKind.UNARY, item(0), metadata=(("x-large", "x" * 12_000),))


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("kind", MethodKind)
async def test_trailers_that_a_peer_would_not_take_are_left_out(
    kind: MethodKind, error: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply or the status arrives without them, and the log says why."""
    async with serving(Handlers(trailers=4096, error=error), kind) as channel:
        if error:
            with pytest.raises(RemoteError) as caught:
                await call(channel, kind, item(0))
            assert caught.value.code is Code.NOT_FOUND
        else:
            assert await call(channel, kind, item(0))
    assert "its trailers are not sent: 4135 bytes are more than 4096" in caplog.text


async def test_trailers_above_the_channels_limit() -> None:
    """A channel that takes less than the server sends says so."""
    async with serving(Handlers(trailers=LARGE), MethodKind.UNARY, channel={"max_metadata_bytes": 2000}) as channel:
        for _ in range(5):
            with pytest.raises(TransportError, match=r"too large for this channel: .*max_metadata_bytes") as caught:
                await call(channel, MethodKind.UNARY, item(0))
            assert caught.value.code is Code.RESOURCE_EXHAUSTED


async def test_a_status_of_a_quota_is_still_the_peers() -> None:
    """RESOURCE_EXHAUSTED of a handler is an answer, whatever its words."""

    async def refuse(request: Item, ctx: Context) -> Item:
        raise CarrickError(Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max")

    async with Server(Routes(UNARY, refuse)) as server, Channel(server.address) as channel:
        with pytest.raises(RemoteError):
            await call(channel, MethodKind.UNARY, item(0))
