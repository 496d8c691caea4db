"""Unary calls without grpc.aio's own Python, to a bare grpc.aio server: they end as grpc.aio's do."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import DecodeError

from carrick.rpc.connection import Connection
from tests.integration.serving import PATIENCE, until

METHOD = b"/a.B/C"
Handler = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[Connection]:
    """Serve bytes, and give a connection."""
    async with connected_to(grpc.unary_unary_rpc_method_handler(handler)) as connection:
        yield connection


@asynccontextmanager
async def connected_to(handler: "grpc.RpcMethodHandler[Any, Any]") -> AsyncIterator[Connection]:
    """Serve one of grpc's handlers, and give a connection."""
    server = grpc.aio.server()
    handlers = {"C": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection = Connection(f"127.0.0.1:{port}", ())
    try:
        yield connection
    finally:
        await connection.close()
        await server.stop(None)


class Hanging:
    """A handler that never answers, and tells when it began and when it was cancelled."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def handle(self, request: bytes, context: Any) -> bytes:
        """Wait for ever."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


async def test_request_metadata_and_deadline_arrive_and_the_answer_comes_back() -> None:
    """What is sent is what the handler sees; the first call connects, and later ones use the connection."""
    seen = []

    async def echo(request: bytes, context: Any) -> bytes:
        seen.append((tuple(context.invocation_metadata()), context.time_remaining()))
        return request

    async with connected(echo) as connection:
        assert await connection.unary(METHOD, b"1", 60.0, (("x-text", "a"), ("x-raw-bin", b"\x00\xff"))) == b"1"
        assert await connection.unary(METHOD, b"", None, ()) == b""
    (metadata, left), (_, no_limit) = seen
    assert {("x-text", "a"), ("x-raw-bin", b"\x00\xff")} <= set(metadata)
    assert 50 < left <= 61
    assert no_limit is None


async def test_a_status_comes_with_everything_that_the_peer_sent() -> None:
    """Code, details, headers and trailers are in grpc's own error."""

    async def refuse(request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("x-head", "1"),))
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("x-tail", "2"), ("x-tail", "3")))
        raise AssertionError

    async with connected(refuse) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.unary(METHOD, b"", 60.0, ())
    error = raised.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert ("x-head", "1") in tuple(error.initial_metadata())
    assert tuple(error.trailing_metadata()) == (("x-tail", "2"), ("x-tail", "3"))
    assert "no such thing" in (error.debug_error_string() or "")


async def test_an_ok_without_an_answer_is_no_answer() -> None:
    """A peer that breaks the protocol gives its callers an error, not None."""

    async def say_nothing(request: bytes, context: Any) -> None:
        pass

    async with connected_to(grpc.unary_stream_rpc_method_handler(say_nothing)) as connection:
        with pytest.raises(DecodeError):
            await connection.unary(METHOD, b"", 60.0, ())


async def test_cancelling_cancels_at_the_peer() -> None:
    """The caller's task ends as cancelled, and the handler is cancelled too."""
    hanging = Hanging()
    async with connected(hanging.handle) as connection:
        call = asyncio.create_task(connection.unary(METHOD, b"", 60.0, ()))
        await until(hanging.begun)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(hanging.ended)


async def test_a_call_that_is_dropped_is_cancelled_at_the_peer() -> None:
    """A coroutine that is closed, as one is whose loop ends, leaves no call behind."""
    hanging = Hanging()
    async with connected(hanging.handle) as connection:
        call = connection.unary(METHOD, b"", 60.0, ())
        call.send(None)
        await until(hanging.begun)
        call.close()
        await until(hanging.ended)


async def test_the_deadline_ends_the_call_on_both_sides() -> None:
    """The core gives DEADLINE_EXCEEDED, and the handler is cancelled."""
    hanging = Hanging()
    async with connected(hanging.handle) as connection:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.unary(METHOD, b"", 0.1, ())
        await until(hanging.ended)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_closing_ends_the_calls_under_way() -> None:
    """All of them hear of it, here and at the peer, and a task that waits for one goes on."""
    hanging = Hanging()
    async with connected(hanging.handle) as connection:
        calls = [asyncio.create_task(connection.unary(METHOD, b"", 60.0, ())) for _ in range(3)]
        await until(hanging.begun)
        await connection.close()
        async with asyncio.timeout(PATIENCE):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        await until(hanging.ended)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
    assert [call.cancelling() for call in calls] == [0] * 3


async def test_closing_ends_a_call_that_waits_for_the_connection() -> None:
    """A peer that accepts connections and says nothing does not hold up a close."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(f"127.0.0.1:{silent.getsockname()[1]}", ())
        call = asyncio.create_task(connection.unary(METHOD, b"", 60.0, ()))
        await asyncio.sleep(0)  # it has begun
        await connection.close()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await call


async def test_a_refused_connection_is_unavailable() -> None:
    """Where nobody listens the core says so, at once."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    connection = Connection(f"127.0.0.1:{port}", ())
    try:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await connection.unary(METHOD, b"", 60.0, ())
    finally:
        await connection.close()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_at_once_do_not_mix() -> None:
    """A hundred calls on one connection each get their own answer, in whatever order those come."""

    async def late(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0 if int(request) % 2 else 0.01)
        return request

    async with connected(late) as connection:
        answers = await asyncio.gather(*(connection.unary(METHOD, b"%d" % each, 60.0, ()) for each in range(100)))
    assert answers == [b"%d" % each for each in range(100)]
