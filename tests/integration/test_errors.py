"""Errors over the wire, in every shape: what their caller is told, and what only the log is."""

import asyncio
import io
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from carrick import CarrickError, Code, Context, MethodKind, MethodPolicy, MethodSpec, RemoteError, TransportError
from carrick.context import enter
from carrick.rpc import Channel, Server
from carrick.telemetry.logs import JsonFormatter, WithCorrelation
from tests.integration.serving import Routes
from tests.unit.streams import Item, item, streaming
from tests.unit.testing.programs import program

SECRET = "swordfish"  # noqa: S105
SHAPES = {kind: streaming(kind, policy=MethodPolicy()) for kind in MethodKind}
INCOMPLETE = UninterpretedOption.NamePart()
"""A message whose required fields are missing: it can't be encoded."""


@pytest.fixture(params=MethodKind, ids=lambda kind: kind.value)
def spec(request: pytest.FixtureRequest) -> MethodSpec[Item, Item]:
    """A method of each shape."""
    return SHAPES[request.param]


@pytest.fixture
def log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What a service's log has at level DEBUG, as JSON, each line with its correlation id."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.addFilter(WithCorrelation("tests"))
    handler.setFormatter(JsonFormatter())
    root, ours = logging.getLogger(), logging.getLogger("carrick")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in lines.getvalue().splitlines()]
    root.removeHandler(handler)
    ours.setLevel(level)


def failing(spec: MethodSpec[Item, Item], fail: Callable[[], Any], after: int = 0) -> Routes:
    """Return a servicer whose handler fails, where it streams responses after some of them."""

    async def one(request: Any, ctx: Context) -> Any:
        return fail()

    async def many(request: Any, ctx: Context) -> AsyncIterator[Item]:
        for number in range(after):
            yield item(number)
        yield fail()

    return Routes(spec, many if spec.streams_responses else one)


async def call(channel: Channel, spec: MethodSpec[Item, Item]) -> None:
    """Call with one request, or a stream of one, under the correlation id ``find-me``."""

    async def requests() -> AsyncIterator[Item]:
        yield item(0)

    with enter(Context(None, correlation_id="find-me")):
        match spec.kind:
            case MethodKind.UNARY:
                await channel.unary(spec)(item(0))
            case MethodKind.CLIENT_STREAM:
                await channel.client_stream(spec)(requests())
            case MethodKind.SERVER_STREAM:
                async for _ in channel.server_stream(spec)(item(0)):
                    pass
            case MethodKind.BIDI_STREAM:
                async for _ in channel.bidi_stream(spec)(requests()):
                    pass


@asynccontextmanager
async def serving(routes: Routes) -> AsyncIterator[Channel]:
    """Serve, and give a channel."""
    async with Server(routes) as server, Channel(server.address) as channel:
        yield channel


async def answered(spec: MethodSpec[Item, Item], fail: Callable[[], Any], after: int = 0) -> RemoteError:
    """Return what a caller gets, and check that code and message are the same in the details."""
    async with serving(failing(spec, fail, after)) as channel:
        with pytest.raises(RemoteError) as caught:
            await call(channel, spec)
    error = caught.value
    assert error.attempt is not None
    packed = dict(error.attempt.trailers)["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    assert (status.code, status.message) == (error.code, error.message)
    assert SECRET.encode() not in packed
    return error


def raising(error: BaseException, cause: BaseException | None = None) -> Callable[[], Any]:
    """Return what raises an error, of a cause or while another is handled."""

    def fail() -> Any:
        try:
            raise KeyError(SECRET)
        except KeyError as other:
            if cause is not None:
                raise error from cause
            raise error from other

    return fail


@pytest.mark.parametrize("after", [0, 2])
async def test_a_handlers_own_error_arrives_whole(spec: MethodSpec[Item, Item], after: int) -> None:
    """Code, message and details, in the middle of a stream too; what it was raised from stays at home."""
    details = [ErrorInfo(reason="GONE", metadata={"a": "1", "b": "2"}), RetryInfo()]
    error = await answered(spec, raising(CarrickError(Code.NOT_FOUND, "no such order", details)), after)
    assert (error.code, error.message, error.details) == (Code.NOT_FOUND, "no such order", tuple(details))


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        type(SECRET, (Exception,), {})(),
        ExceptionGroup(SECRET, [ValueError(SECRET), CarrickError(Code.NOT_FOUND, SECRET)]),
        BaseExceptionGroup(SECRET, [type("Odd", (BaseException,), {})(SECRET)]),
        type("Odd", (BaseException,), {})(SECRET),
        type("Mute", (Exception,), {"__str__": lambda self: 1 / 0, "__repr__": lambda self: 1 / 0})(),
        StopIteration(SECRET),
        StopAsyncIteration(SECRET),
    ],
    ids=["exception", "named", "group", "base group", "base", "mute", "stop", "async stop"],
)
async def test_anything_else_is_internal(
    spec: MethodSpec[Item, Item], error: BaseException, log: Callable[[], list[dict[str, Any]]]
) -> None:
    """The caller has a correlation id and nothing else; under it the log has the traceback, causes included."""
    told = await answered(spec, raising(error, cause=LookupError("the cause")))
    assert (told.code, told.message) == (Code.INTERNAL, "internal error; correlation id find-me")
    (line,) = [line for line in log() if line["logger"] == "carrick.server" and "exception" in line]
    assert line["correlation_id"] == "find-me"
    assert f"{spec.full_name} failed" in line["message"]
    assert "LookupError: the cause" in line["exception"]
    assert "in fail" in line["exception"]


@pytest.mark.parametrize(
    ("message", "arrives"),
    [
        ("x" * 1_000_000, "x" * 1024),
        ("é" * 1_000_000, "é" * 512),
        ("two\nlines\x00 and 100 %", "two\nlines\x00 and 100 %"),
        ("a lone \ud800 surrogate", "a lone ? surrogate"),
        ("", ""),
    ],
    ids=["long", "long in bytes", "control characters", "surrogate", "empty"],
)
async def test_any_message_arrives(spec: MethodSpec[Item, Item], message: str, arrives: str) -> None:
    """Cut to a kibibyte, and in characters that can be sent."""
    error = await answered(spec, raising(CarrickError(Code.NOT_FOUND, message)))
    assert (error.code, error.message) == (Code.NOT_FOUND, arrives)


@pytest.mark.parametrize("odd", [INCOMPLETE, "no message", None], ids=["incomplete", "text", "none"])
async def test_a_detail_that_cannot_be_encoded_is_left_out(
    spec: MethodSpec[Item, Item], odd: Any, log: Callable[[], list[dict[str, Any]]]
) -> None:
    """The error arrives with the others; the log names the type of what is missing."""
    good: list[Message] = [ErrorInfo(reason="ONE"), ErrorInfo(reason="TWO")]
    error = await answered(spec, raising(CarrickError(Code.NOT_FOUND, "gone", [good[0], odd, good[1]])))
    assert (error.code, error.message, error.details) == (Code.NOT_FOUND, "gone", tuple(good))
    (line,) = [line for line in log() if line["logger"] == "carrick.status"]
    assert f"a {type(odd).__name__} among the details of a NOT_FOUND can't be encoded" in line["message"]


async def test_a_reply_that_cannot_be_encoded_is_internal(log: Callable[[], list[dict[str, Any]]]) -> None:
    """What the handler returned lacks a required field: the caller has a correlation id, the log the reason."""
    for kind in (MethodKind.UNARY, MethodKind.SERVER_STREAM):
        spec: Any = MethodSpec(
            service="test.v1.Streams", name="Incomplete", request=Item, response=UninterpretedOption.NamePart, kind=kind
        )
        error = await answered(spec, lambda: INCOMPLETE)
        assert (error.code, error.message) == (Code.INTERNAL, "internal error; correlation id find-me")
    lines = [line["exception"] for line in log() if line["logger"] == "carrick.server" and "exception" in line]
    assert len(lines) == 2
    assert all("EncodeError" in line for line in lines)


EXITING = """
import asyncio
from carrick import CarrickError
from carrick.rpc import Server
from tests.integration.serving import Routes
from tests.integration.test_errors import SHAPES, MethodKind

async def leave(request, ctx):
    raise SystemExit(7)

async def main():
    async with Server(Routes(SHAPES[MethodKind.UNARY], leave)) as server:
        print(server.address, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_handler_may_end_its_process() -> None:
    """SystemExit is no error of the call's: the process ends, and the caller hears that it is gone.

    Not always with the status asked for: grpc's core may crash while the interpreter takes it down with a call in it.
    """
    with program("-c", EXITING) as process:
        assert process.stdout is not None
        address = (await asyncio.to_thread(process.stdout.readline)).strip()
        async with Channel(address) as channel:
            with pytest.raises(TransportError):
                await call(channel, SHAPES[MethodKind.UNARY])
        assert await asyncio.to_thread(process.wait) in (7, -signal.SIGSEGV)


async def test_a_request_that_cannot_be_read_is_its_callers_fault(
    spec: MethodSpec[Item, Item], log: Callable[[], list[dict[str, Any]]]
) -> None:
    """INVALID_ARGUMENT that names the type; nobody can fill the log with tracebacks by sending rubbish."""
    rubbish = b"\xff\xff\xff" + SECRET.encode()

    async def taking(requests: Any, ctx: Context) -> Any:
        assert spec.streams_requests
        return [each async for each in requests]

    async def taking_and_yielding(requests: Any, ctx: Context) -> AsyncIterator[Any]:
        for each in await taking(requests, ctx):
            yield each

    async def requests() -> AsyncIterator[bytes]:
        yield rubbish

    handler = taking_and_yielding if spec.streams_responses else taking
    async with (
        Server(Routes(spec, handler)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        shape = f"{'stream' if spec.streams_requests else 'unary'}_{'stream' if spec.streams_responses else 'unary'}"
        invoke: Any = getattr(channel, shape)(f"/{spec.full_name}")
        answer = invoke(requests() if spec.streams_requests else rubbish, timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (anext(aiter(answer)) if spec.streams_responses else answer)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == f"{spec.full_name}: the request is no shop.orders.v1.GetOrderResponse"
    assert [line for line in log() if line["level"] in ("error", "ERROR") or "exception" in line] == []
    assert SECRET not in str(log())
