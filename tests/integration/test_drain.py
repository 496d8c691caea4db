"""How a server stops: NOT_SERVING, GOAWAY, running calls finish, and at the limit what has not is cancelled.

The process of the last test is this file, run as a program.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from carrick import (
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    IdempotencyLevel,
    MethodKind,
    MethodPolicy,
    MethodRoute,
    RetryOptions,
)
from carrick.app import App
from carrick.rpc import Channel, Server
from carrick.testing import FakeClock
from tests.integration.serving import PATIENCE, Handling, until
from tests.unit.streams import Item, item, streaming
from tests.unit.testing.programs import program

ME = "tests.integration.test_drain"
ASK = streaming(MethodKind.UNARY, idempotency=IdempotencyLevel.IDEMPOTENT, policy=MethodPolicy(timeout=30.0))
WATCH = streaming(MethodKind.SERVER_STREAM)
UPLOAD = streaming(MethodKind.CLIENT_STREAM)
TALK = streaming(MethodKind.BIDI_STREAM)
PATIENT = MethodPolicy(timeout=PATIENCE, retry=RetryOptions(max_attempts=100, initial_backoff=0.01, max_backoff=0.05))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GOAWAY = 7


class Desk:
    """Answers with its name; a request of 1 waits until it may go on, and streams go on for ever."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.handling = Handling()
        self.ended: list[str] = []

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return all routes."""
        return (
            MethodRoute(ASK, self.ask),
            MethodRoute(WATCH, self.handling.watch),
            MethodRoute(UPLOAD, self.upload),
            MethodRoute(TALK, self.talk),
        )

    async def ask(self, request: Item, ctx: Context) -> Item:
        """Answer at once, or when told."""
        if request.total == 1:
            self.begun.set()
            await self.go_on.wait()
        return Item(order_id=self.name)

    async def upload(self, requests: AsyncIterator[Item], ctx: Context) -> Item:
        """Take requests for ever."""
        try:
            async for _ in requests:
                self.begun.set()
        finally:
            self.ended.append("upload")
        return Item(order_id=self.name)

    async def talk(self, requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        """Echo for ever."""
        try:
            async for each in requests:
                yield each
        finally:
            self.ended.append("talk")


class Connection:
    """A bare HTTP/2 connection that reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def goaway(self) -> int:
        """Wait until the peer says that it takes no more calls, and return its error code."""
        async with asyncio.timeout(PATIENCE):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == GOAWAY:
                    return int.from_bytes(payload[4:8], "big")

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """Open a connection that makes no call, and wait until the server has greeted it."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))  # an empty SETTINGS frame
    await writer.drain()
    connection = Connection(reader, writer)
    head = await reader.readexactly(9)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def watched(address: str) -> AsyncIterator[Any]:
    """Watch the health of a server on a connection of its own."""
    async with grpc.aio.insecure_channel(address) as bare:
        health: Any = health_pb2_grpc.HealthStub(bare)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert await state(watch) == SERVING
        yield watch


async def state(watch: Any) -> Any:
    """Wait for the next state that a watcher is told."""
    async with asyncio.timeout(PATIENCE):
        return (await watch.read()).status


async def test_calls_are_answered_until_callers_have_noticed() -> None:
    """For ``drain_delay`` seconds health says NOT_SERVING while new calls are still taken; then they are not."""
    clock = FakeClock()
    server = Server(Desk("one"), drain_delay=5.0, clock=clock)
    await server.start()
    policy = MethodPolicy(retry=RetryOptions(max_attempts=1))
    async with watched(server.address) as watch, Channel(server.address, policy=policy) as channel:
        stopping = asyncio.create_task(server.stop())
        assert await state(watch) == NOT_SERVING
        assert (await channel.unary(ASK)(item(0))).order_id == "one"
        clock.advance(4.9)
        assert (await channel.unary(ASK)(item(0))).order_id == "one"
        assert not stopping.done()
        clock.advance(0.2)
        await stopping
        with pytest.raises(CarrickError) as refused:
            await channel.unary(ASK)(item(0))
    assert refused.value.code is Code.UNAVAILABLE


async def test_every_connection_is_told_goaway() -> None:
    """One without calls too, at once and without an error, while a call still runs on another."""
    desk = Desk("one")
    server = Server(desk)
    await server.start()
    async with connected(server.address) as idle, Channel(server.address) as channel:
        running = asyncio.create_task(channel.unary(ASK)(item(1)))
        await until(desk.begun)
        stopping = asyncio.create_task(server.stop())
        assert await idle.goaway() == 0
        await idle.close()  # as a client does; one that did not would be waited for, as a call is
        assert not running.done()
        desk.go_on.set()
        assert (await running).order_id == "one"
        await stopping


async def test_a_client_goes_to_the_successor_while_its_call_finishes() -> None:
    """One channel: the running call is answered by the server that drains, the next by the one in its place."""
    old, new = Desk("old"), Desk("new")
    draining = Server(old)
    await draining.start()
    async with Channel(draining.address, policy=PATIENT) as channel:
        ask = channel.unary(ASK)
        running = asyncio.create_task(ask(item(1)))
        await until(old.begun)
        stopping = asyncio.create_task(draining.stop())
        async with successor(new, draining.port):
            assert (await ask(item(0))).order_id == "new"
            assert not running.done()
            old.go_on.set()
            assert (await running).order_id == "old"
            await stopping
            assert (await ask(item(0))).order_id == "new"


@asynccontextmanager
async def successor(desk: Desk, port: int) -> AsyncIterator[None]:
    """Serve on a port as soon as it is free."""
    server = Server(desk, port=port)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await server.start()
                break
            except ConfigurationError:
                await asyncio.sleep(0.01)
    try:
        yield
    finally:
        await server.stop()


async def test_streams_of_every_shape_are_cancelled_at_the_limit() -> None:
    """What goes on for ever has the grace and no more: its handler is ended, and its caller told."""
    desk, closed = Desk("one"), asyncio.Event()

    async def endless() -> AsyncIterator[Item]:
        try:
            yield item(0)
            await asyncio.Event().wait()
        finally:
            closed.set()

    server = Server(desk, grace=0.3)
    await server.start()
    async with Channel(server.address) as channel:
        watching = channel.server_stream(WATCH)(item(0))
        talking = channel.bidi_stream(TALK)(endless())
        await anext(watching)
        await anext(talking)
        uploading = asyncio.ensure_future(channel.client_stream(UPLOAD)(endless()))
        await until(desk.begun)
        stopping = asyncio.create_task(server.stop())

        async def rest(stream: AsyncIterator[Item]) -> None:
            async for _ in stream:
                pass

        ends = await asyncio.gather(rest(watching), rest(talking), uploading, return_exceptions=True)
        await stopping
        await until(closed)
    codes = [end.code if isinstance(end, CarrickError) else end for end in ends]
    assert all(code in (Code.UNAVAILABLE, Code.CANCELLED) for code in codes), codes
    assert desk.handling.ended.is_set()
    assert sorted(desk.ended) == ["talk", "upload"]


async def test_sigterm_drains_a_process() -> None:
    """Health, GOAWAY, the running call's answer, the end of a stream at the limit, and status 0, in this order."""
    with ExitStack() as programs:
        process = programs.enter_context(program("-m", ME))
        assert process.stdout is not None
        address = (await asyncio.to_thread(process.stdout.readline)).strip()
        async with watched(address) as watch, connected(address) as idle, Channel(address, policy=PATIENT) as channel:
            running = asyncio.create_task(channel.unary(ASK)(item(1)))
            stream = channel.server_stream(WATCH)(item(0))
            await anext(stream)
            assert await asyncio.to_thread(process.stdout.readline) == "begun\n"
            process.send_signal(signal.SIGTERM)
            assert await state(watch) == NOT_SERVING
            assert await idle.goaway() == 0
            assert (await running).order_id == "process"
            with pytest.raises(CarrickError) as cut_off:
                async for _ in stream:
                    pass
            assert cut_off.value.code in (Code.UNAVAILABLE, Code.CANCELLED)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.to_thread(process.wait) == 0
        assert process.stdout.read() == "stream ended\n"


async def _serve() -> None:
    """Run until SIGTERM; the call of 1 goes on when health has turned, which is when the stop has begun."""
    desk = Desk("process")
    server = Server(desk, grace=1.0)

    @asynccontextmanager
    async def announced() -> AsyncIterator[None]:
        print(server.address, flush=True)
        telling = asyncio.create_task(_tell(desk))
        yield
        asyncio.get_running_loop().call_later(0.3, desk.go_on.set)  # the parts before are stopped after this one
        telling.cancel()

    await App("drain", server, announced()).run()
    if desk.handling.ended.is_set():
        print("stream ended", flush=True)


async def _tell(desk: Desk) -> None:
    await desk.begun.wait()
    print("begun", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
