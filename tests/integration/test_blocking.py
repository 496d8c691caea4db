"""Blocking calls over real gRPC, from threads that have no event loop."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

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
    RejectedError,
    RemoteError,
    RetryOptions,
    TransportError,
)
from carrick.context import enter
from carrick.rpc import BlockingChannel, Channel, Server
from tests.unit.streams import Item, item, items, streaming

T = TypeVar("T")

PATIENCE = 10.0
STOP = 999_999
CALL = streaming(MethodKind.UNARY, idempotency=IdempotencyLevel.IDEMPOTENT)
UPLOAD = streaming(MethodKind.CLIENT_STREAM)
REPEATABLE_UPLOAD = streaming(MethodKind.CLIENT_STREAM, idempotency=IdempotencyLevel.IDEMPOTENT)
WATCH = streaming(MethodKind.SERVER_STREAM)
TALK = streaming(MethodKind.BIDI_STREAM)
QUICK = MethodPolicy(retry=RetryOptions(initial_backoff=0.001))


class Streams:
    """A servicer of all shapes, which counts, adds and remembers."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.failures = 0
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def call(self, request: Item, ctx: Context) -> Item:
        """Fail as often as told, then answer with the same."""
        self.contexts.append(ctx)
        if self.failures:
            self.failures -= 1
            raise CarrickError(Code.UNAVAILABLE, "not yet")
        if request.total == STOP:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return request

    async def upload(self, requests: AsyncIterator[Item], ctx: Context) -> Item:
        """Answer with the sum, or as soon as one says STOP."""
        total = 0
        async for request in requests:
            if self.failures:
                self.failures -= 1
                raise CarrickError(Code.UNAVAILABLE, "not yet")
            if request.total == STOP:
                return request
            total += request.total
        return item(total)

    async def watch(self, request: Item, ctx: Context) -> AsyncIterator[Item]:
        """Count, or answer nothing when told STOP."""
        self.begun.set()
        try:
            if request.total == STOP:
                await asyncio.Event().wait()
            async for each in items(request.total):
                yield each
            ctx.call.trailers += (("x-end", "yes"),)
        finally:
            self.ended.set()

    async def talk(self, requests: AsyncIterator[Item], ctx: Context) -> AsyncIterator[Item]:
        """Answer each with its successor."""
        async for request in requests:
            yield item(request.total + 1)

    def routes(self) -> tuple[MethodRoute[Item, Item], ...]:
        """Return them all."""
        return (
            MethodRoute(CALL, self.call),
            MethodRoute(UPLOAD, self.upload),
            MethodRoute(REPEATABLE_UPLOAD, self.upload),
            MethodRoute(WATCH, self.watch),
            MethodRoute(TALK, self.talk),
        )


@asynccontextmanager
async def served(streams: Streams, **options: Any) -> AsyncIterator[BlockingChannel]:
    """Serve, and give a blocking channel."""
    async with Server(streams) as server:
        channel = BlockingChannel(Channel(server.address, **options))
        yield channel
        await asyncio.to_thread(channel.close)


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run blocking code where it belongs; it must not hang."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(work, *arguments)


async def test_a_unary_call() -> None:
    """A call from a thread is answered, with its policies: two failures are retried."""
    streams = Streams()
    streams.failures = 2
    async with served(streams, policy=QUICK) as channel:
        assert await in_thread(channel.unary(CALL), item(3)) == item(3)
    assert len(streams.contexts) == 3


async def test_calls_of_many_threads_at_once() -> None:
    """One channel serves any number of threads."""
    async with served(Streams()) as channel:
        call = channel.unary(CALL)

        def many() -> list[int]:
            with ThreadPoolExecutor(16) as pool:
                return [reply.total for reply in pool.map(call, [item(number) for number in range(200)])]

        assert await in_thread(many) == list(range(200))


async def test_what_is_current_is_inherited() -> None:
    """The calling thread's context gives correlation id and deadline, as in asynchronous code."""
    streams = Streams()
    async with served(streams) as channel:

        def inside() -> None:
            with enter(Context(None, correlation_id="corr")):
                channel.unary(CALL)(item(1))

        await in_thread(inside)
    assert streams.contexts[0].correlation_id == "corr"


async def test_a_deadline() -> None:
    """A call that takes too long raises DeadlineError."""
    async with served(Streams()) as channel:
        with pytest.raises(DeadlineError):
            await in_thread(lambda: channel.unary(CALL)(item(STOP), timeout=0.1))


async def test_a_stream_of_requests_is_iterated_in_the_calling_thread() -> None:
    """Generators that belong to their thread, as database cursors do, can be sent."""
    threads = set()

    def source() -> Iterator[Item]:
        message = Item()
        for number in range(100):
            threads.add(threading.get_ident())
            message.total = number  # one object for all
            yield message

    async with served(Streams()) as channel:

        def upload() -> int:
            threads.add(threading.get_ident())
            return channel.client_stream(UPLOAD)(source()).total

        assert await in_thread(upload) == 4950
    assert len(threads) == 1


async def test_a_stream_of_requests_is_sent_again() -> None:
    """Retries work as ever, though the generator is iterated once."""
    streams = Streams()
    streams.failures = 2
    async with served(streams, policy=QUICK) as channel:
        reply = await in_thread(channel.client_stream(REPEATABLE_UPLOAD), [item(number) for number in range(10)])
    assert reply.total == 45


async def test_an_early_answer_ends_the_requests() -> None:
    """A generator that would go on for ever is closed when the answer is there."""
    closed = threading.Event()

    def source() -> Iterator[Item]:
        try:
            yield item(STOP)
            while True:
                yield item(1)
        finally:
            closed.set()

    async with served(Streams()) as channel:
        assert (await in_thread(channel.client_stream(UPLOAD), source())).total == STOP
    assert closed.is_set()


async def test_a_refused_call_does_not_wait_for_its_requests() -> None:
    """When the circuit is open nobody asks for requests, and the call fails all the same."""
    policy = MethodPolicy(breaker=BreakerOptions(min_calls=1, open_for=60), timeout=1.0)
    channel = BlockingChannel(Channel("127.0.0.1:1", policy=policy))

    def endless() -> Iterator[Item]:
        while True:
            yield item(1)

    with pytest.raises(TransportError):
        await in_thread(channel.client_stream(UPLOAD), endless())
    with pytest.raises(RejectedError):
        await in_thread(channel.client_stream(UPLOAD), endless())
    await in_thread(channel.close)


@pytest.mark.parametrize("kind", [MethodKind.CLIENT_STREAM, MethodKind.BIDI_STREAM])
async def test_an_error_of_the_requests_is_the_callers(kind: MethodKind) -> None:
    """What the generator raises comes out of the call."""

    def broken() -> Iterator[Item]:
        yield item(1)
        raise ValueError("no more")

    async with served(Streams()) as channel:

        def call() -> object:
            if kind is MethodKind.CLIENT_STREAM:
                return channel.client_stream(UPLOAD)(broken())
            return list(channel.bidi_stream(TALK)(broken()))

        with pytest.raises(ValueError, match="no more"):
            await in_thread(call)


async def test_a_stream_of_responses() -> None:
    """Responses are iterated over as they come; the trailers are there at the end."""
    async with served(Streams()) as channel:

        def read() -> tuple[list[int], bool]:
            stream = channel.server_stream(WATCH)(item(100))
            return [each.total for each in stream], ("x-end", "yes") in stream.trailers

        assert await in_thread(read) == (list(range(100)), True)


async def test_leaving_a_stream_early() -> None:
    """Leaving the block ends the call, and the handler."""
    streams = Streams()
    async with served(streams) as channel:

        def read_one() -> Item:
            with channel.server_stream(WATCH)(item(1_000_000)) as stream:
                return next(stream)

        assert await in_thread(read_one) == item(0)
        async with asyncio.timeout(PATIENCE):
            await streams.ended.wait()


async def test_dropping_a_stream() -> None:
    """A loop that is left with break ends the call too."""
    streams = Streams()
    async with served(streams) as channel:

        def read_one() -> None:
            for _ in channel.server_stream(WATCH)(item(1_000_000)):
                break

        await in_thread(read_one)
        async with asyncio.timeout(PATIENCE):
            await streams.ended.wait()


async def test_closing_a_stream_that_another_thread_waits_for() -> None:
    """The thread that waits gets a TransportError, and the handler is ended."""
    streams = Streams()
    async with served(streams) as channel:
        stream = channel.server_stream(WATCH)(item(STOP))
        reading = asyncio.create_task(in_thread(lambda: next(stream)))
        async with asyncio.timeout(PATIENCE):
            await streams.begun.wait()
            await in_thread(stream.close)
            with pytest.raises(TransportError):
                await reading
            await streams.ended.wait()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_requests_that_exit_leave_other_calls_alone(error: BaseException) -> None:
    """What ends an event loop comes out of the call whose generator raised it, and the background loop lives on."""

    def leaving() -> Iterator[Item]:
        yield item(1)
        raise error

    async with served(Streams()) as channel:

        def talk() -> BaseException:
            with pytest.raises(type(error)) as raised:  # here, since it would end the test's loop too
                list(channel.bidi_stream(TALK)(leaving()))
            return raised.value

        assert await in_thread(talk) is error
        assert await in_thread(channel.unary(CALL), item(3)) == item(3)


async def test_both_directions_take_turns() -> None:
    """Requests can wait for responses: they have a thread of their own."""
    async with served(Streams()) as channel:

        def talk() -> list[int]:
            heard: list[int] = []
            more = threading.Semaphore(1)

            def questions() -> Iterator[Item]:
                for _ in range(10):
                    more.acquire()
                    yield item(heard[-1] * 2 if heard else 1)

            for reply in channel.bidi_stream(TALK)(questions()):
                heard.append(reply.total)
                more.release()
            return heard

        heard = await in_thread(talk)
    assert heard[:4] == [2, 5, 11, 23]
    assert len(heard) == 10


async def test_errors_keep_their_class() -> None:
    """A peer's status is the same error as in asynchronous code."""
    streams = Streams()
    streams.failures = 1
    async with served(streams) as channel:
        with pytest.raises(RemoteError) as raised:
            await in_thread(channel.unary(CALL), item(1))
    assert raised.value.code is Code.UNAVAILABLE


async def test_the_own_loop_is_refused() -> None:
    """A blocking call on the background loop would wait for itself."""
    async with served(Streams()) as channel:
        call = channel.unary(CALL)

        async def on_the_loop() -> None:
            call(item(1))

        with pytest.raises(RuntimeError, match="its own event loop"):
            await in_thread(lambda: channel._loop.run(on_the_loop()))


PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from carrick.rpc import BlockingChannel
from tests.integration.test_blocking import CALL, STOP
from tests.unit.streams import item

channel = BlockingChannel(sys.argv[1])
call = channel.unary(CALL)
"""

FORKING = (
    PROGRAM
    + """
if sys.argv[2] == "used":
    call(item(1))
if os.fork() == 0:
    try:
        print(call(item(7), timeout=5).total, flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
)

WAITING = (
    PROGRAM
    + """
try:
    call(item(STOP), timeout=60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()
"""
)


LEAVING = (
    PROGRAM
    + """
import threading
from tests.integration.test_blocking import TALK

def requests():
    yield item(1)
    threading.Event().wait()

try:
    with channel.bidi_stream(TALK)(requests()) as stream:
        for _ in stream:
            print("begun", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
)


async def program(text: str, *arguments: str) -> "asyncio.subprocess.Process":
    """Start a program that makes blocking calls."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        text,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=os.getcwd(),
    )


async def test_a_channel_made_before_a_fork_works_after_it() -> None:
    """Servers that fork their workers may make the channel before, as modules do on import."""
    async with Server(Streams()) as server, asyncio.timeout(PATIENCE):
        process = await program(FORKING, server.address, "fresh")
        out, err = await process.communicate()
    assert out.decode().split() == ["7", "0"], err


async def test_a_channel_used_before_a_fork_says_so_after_it() -> None:
    """A call in a fork of a process that has called raises, and does not hang."""
    async with Server(Streams()) as server, asyncio.timeout(PATIENCE):
        process = await program(FORKING, server.address, "used")
        out, err = await process.communicate()
    assert b"before this process was forked" in out, err
    assert out.split()[-1] == b"0"


async def test_ctrl_c_ends_a_call() -> None:
    """SIGINT interrupts the waiting, and cancels the call at the peer."""
    streams = Streams()
    async with Server(streams) as server, asyncio.timeout(PATIENCE):
        process = await program(WAITING, server.address)
        assert process.stdout is not None
        while not streams.contexts:
            await asyncio.sleep(0.01)
            assert process.returncode is None, await process.communicate()
        process.send_signal(signal.SIGINT)
        assert await process.stdout.readline() == b"interrupted\n"
        await streams.ended.wait()  # while the process that made the call lives on
        await process.communicate(b"")


async def test_ctrl_c_in_the_middle_of_a_stream_stays_what_it_is() -> None:
    """SIGINT while a response is awaited leaves the stream's block as KeyboardInterrupt, with the call closed."""
    async with Server(Streams()) as server, asyncio.timeout(PATIENCE):
        process = await program(LEAVING, server.address)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert out == b"interrupted\n", err
