"""A gRPC server: handlers behind their stacks, health, reflection, and a stop that finishes what was begun."""

import asyncio
import logging
import random
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self, TypeAlias

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from carrick.cancellation import cancelled
from carrick.claim import ClaimStore
from carrick.clock import Clock, SystemClock
from carrick.context import Context, Metadata, detached, enter
from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.observe import Observer, log
from carrick.options import SheddingOptions
from carrick.policy.lag import LoopLag, sample
from carrick.policy.shedding import shedding as shedding_filter
from carrick.policy.shedding import shedding_state
from carrick.resource import Resource
from carrick.route import MethodRoute
from carrick.rpc.health import Health
from carrick.rpc.limits import metadata_limit, metadata_size
from carrick.rpc.metadata import check_metadata, context_from, retries_left
from carrick.rpc.requests import WholeRequests
from carrick.rpc.status import OWN_FAULTS, answer_for, grpc_code
from carrick.service import Filter, Service
from carrick.stacks import server_stack
from carrick.store.housekeeping import Housekeeping
from carrick.stream import close

__all__ = ["Server", "Servicer"]

_CLEAN_UP = 5.0
_SHEDDING = SheddingOptions()
_OWN_SERVICES = ("grpc.health.v1.Health", reflection.SERVICE_NAME)
_FOR_THE_PROCESS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_MAX_TRAILERS = 4096  # bytes: a peer drops a call with more than 8 KiB of metadata, and a status takes half of it
_Encode: TypeAlias = Callable[[Any, Context], bytes]
_logger = logging.getLogger("carrick.server")


class Servicer(Protocol):
    """What generated servicers are: something that pairs methods with handlers."""

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return a route for each method."""
        ...


class Server:
    """Serves the methods of servicers, with health and reflection. Starts and stops as a context manager.

    ``host`` is loopback unless told. Port 0 takes a free one: read :attr:`port` once it runs. ``claims`` keeps the
    idempotency records; it must be there when a contract gives a method a key, and while the server runs, records that
    have expired are removed from it. ``filters`` are the user's own, and stand before idempotency, so that who may not
    call is not answered from a record either. ``shedding`` bounds the calls that are handled at once, of all methods
    together, and turns the least important away first; health checks and reflection are not counted and never turned
    away. ``observe`` is told what is turned away. ``uniform`` gives the random numbers for jitter, from 0 up to 1. Each
    of ``resources`` has a name in health, ``resource/database``, that turns NOT_SERVING while it is degraded; the
    server stays SERVING.

    A request or response has at most ``max_message_bytes``, and what comes in as metadata with a call at most
    ``max_metadata_bytes``, names and 32 bytes for each included. What is larger ends with ``RESOURCE_EXHAUSTED``.

    Stopping turns health NOT_SERVING, waits ``drain_delay`` seconds for callers to notice, refuses new calls, and
    gives running ones ``grace`` seconds before they are cancelled.
    """

    def __init__(
        self,
        *servicers: Servicer,
        host: str = "127.0.0.1",
        port: int = 0,
        claims: ClaimStore | None = None,
        filters: Sequence[Filter] = (),
        clock: Clock | None = None,
        instruments: Instruments | None = None,
        observe: Observer = log,
        uniform: Callable[[], float] = random.random,
        shedding: SheddingOptions = _SHEDDING,
        resources: Sequence[Resource] = (),
        max_message_bytes: int = 4 * 1024 * 1024,
        max_metadata_bytes: int = 16 * 1024,
        grace: float = 10.0,
        drain_delay: float = 0.0,
    ) -> None:
        self._host = host
        self._requested_port = port
        self._clock = clock or SystemClock()
        self._grace = grace
        self._drain_delay = drain_delay
        self._observe = observe
        self._uniform = uniform
        self._max_message_bytes = max_message_bytes
        self._max_metadata_bytes = max_metadata_bytes
        self._running = 0
        self._idle = asyncio.Event()
        self._health = Health()
        self._resources = tuple(resources)
        _check_resources(self._resources)
        self._server: grpc.aio.Server | None = None
        self._housekeeping = Housekeeping(*(() if claims is None else (claims.purge,)))
        self._routes = [route for servicer in servicers for route in servicer.routes()]
        _check_routes(self._routes)
        self._lag = LoopLag()
        self._sampler: asyncio.Task[None] | None = None
        self._watches_lag = _watch_lag([shedding, *(route.spec.policy.shedding for route in self._routes)])
        self._shed = self._shed_all(shedding) if shedding else None
        self._services = [(route.spec, self._stack(route, claims, instruments, filters)) for route in self._routes]
        self.port = 0
        """The port it listens on; 0 before it runs."""

    @property
    def address(self) -> str:
        """``host:port`` of the running server."""
        return f"{self._host}:{self.port}"

    @property
    def service_names(self) -> tuple[str, ...]:
        """Full names of the services served."""
        return tuple(dict.fromkeys(route.spec.service for route in self._routes))

    async def start(self) -> None:
        """Listen and serve. Raises ``ConfigurationError`` when the address can't be had."""
        server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a port that is taken is an error
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
                *metadata_limit(self._max_metadata_bytes),
            ),
        )
        handlers = {f"/{method.full_name}": self._handler(method, service) for method, service in self._services}
        server.add_generic_rpc_handlers((_Handlers(handlers),))
        own: Any = _Unregistered(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, own)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            reflection.aio.ReflectionServicer(self._reflected()), own
        )
        try:
            self.port = server.add_insecure_port(f"{self._host}:{self._requested_port}")
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {self._host}:{self._requested_port}: is the port taken? Port 0 takes a free one"
            ) from error
        await server.start()
        self._server = server
        if self._watches_lag:
            with detached():
                self._sampler = asyncio.create_task(sample(self._lag, self._clock), name="event loop lag")
        await self._housekeeping.start()
        await self._health.serving(self.service_names)
        await self._health.follow(self._resources)
        _logger.info("serving on %s", self.address, extra={"services": list(self.service_names)})

    async def stop(self) -> None:
        """Drain and stop, as the class says. Calling it again does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._health.draining()
        _logger.info("draining", extra={"running": self._running})
        if self._drain_delay:
            await self._clock.sleep(self._drain_delay)
        stopping = asyncio.create_task(server.stop(self._grace))
        if self._sampler is not None:
            self._sampler.cancel()
            self._sampler = None
        await self._until_idle(self._grace)
        self._health.dismiss_watchers()
        await stopping
        await self._until_idle(_CLEAN_UP)  # for gRPC a cancelled call is over, while its handler still rolls back
        await self._housekeeping.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _until_idle(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            _logger.warning("%d handlers still run", self._running)

    def _stack(
        self,
        route: MethodRoute[Any, Any],
        claims: ClaimStore | None,
        instruments: Instruments | None,
        filters: Sequence[Filter],
    ) -> Service:
        if route.spec.keyed and claims is None:
            raise ConfigurationError(
                f"{route.spec.full_name} has an idempotency key, so its server needs a place for the records: "
                "Server(..., claims=IdempotencyRecords(database))"
            )
        return server_stack(
            _as_service(route.spec, route.handler),
            route.spec,
            clock=self._clock,
            claims=claims,
            instruments=instruments,
            extra=filters,
            shed=self._shed,
            lag=self._lag,
            uniform=self._uniform,
            observe=self._observe,
        )

    def _shed_all(self, options: SheddingOptions) -> Filter:
        """Return the filter that bounds the calls of all methods together."""
        return shedding_filter(
            options,
            shedding_state(options),
            clock=self._clock,
            uniform=self._uniform,
            observe=self._observe,
            lag=self._lag,
        )

    def _handler(self, method: MethodSpec[Any, Any], service: Service) -> "Callable[[Metadata], _Handler]":
        """Return what makes the handler of a call with its metadata.

        It takes and gives bytes, where requests are not streamed, and writes streamed responses itself.
        """
        monotonic = self._clock.monotonic
        streams = method.streams_responses
        encode, decode = _encoder(method, self._max_message_bytes), _decoder(method)

        async def handle(metadata: Metadata, request: Any, transport: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            left: float | None = transport.time_remaining()
            ctx = None
            self._running += 1
            try:
                deadline = None if left is None else monotonic() + left
                ctx = context_from(method, metadata, deadline=deadline, peer=transport.peer())
                if not method.streams_requests:
                    request = decode(request)
                elif not streams:
                    request = WholeRequests(request, transport)
                answer = None
                with enter(ctx):
                    reply = await service(request, ctx)
                    if streams:
                        await _write(reply, ctx, transport, encode)
                    else:
                        _check(reply, ctx)
                        answer = encode(reply, ctx)
                if trailers := _trailers(ctx):
                    transport.set_trailing_metadata(trailers)
                return answer
            except BaseException as error:  # whatever a handler raises becomes a status: its caller waits
                if cancelled(error) or isinstance(error, _FOR_THE_PROCESS):
                    raise
                await _refuse(transport, error, method, ctx)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()

        return lambda metadata: _Handler(method, decode, partial(handle, metadata))

    def _reflected(self) -> list[str]:
        pool = descriptor_pool.Default()
        known = []
        for name in self.service_names:
            try:
                pool.FindServiceByName(name)
            except KeyError:
                continue
            known.append(name)
        return [*known, *_OWN_SERVICES]


def _watch_lag(options: Iterable[SheddingOptions | None]) -> bool:
    return any(each and each.max_loop_lag is not None for each in options)


class _Handler(grpc.RpcMethodHandler):  # type: ignore[type-arg]
    """Who handles one call, as gRPC wants to see it. Making one of gRPC's own takes four times as long."""

    __slots__ = (
        "request_deserializer",
        "request_streaming",
        "response_serializer",
        "response_streaming",
        "stream_stream",
        "stream_unary",
        "unary_stream",
        "unary_unary",
    )

    def __init__(self, method: MethodSpec[Any, Any], decode: Callable[[bytes], Any], handle: Any) -> None:
        self.request_streaming = method.streams_requests
        self.response_streaming = method.streams_responses
        self.request_deserializer = decode if method.streams_requests else None
        self.response_serializer = None
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = handle


class _Handlers(grpc.GenericRpcHandler):
    """Finds who handles a call, and hands on its metadata: asked for later, grpc.aio converts them once more."""

    def __init__(self, handlers: Mapping[str, Callable[[Metadata], _Handler]]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> _Handler | None:
        """Return the handler of a call, or None when its method is not served here."""
        handler = self._handlers.get(details.method)
        return None if handler is None else handler(tuple(details.invocation_metadata))


class _Unregistered:
    """A server as generated code is given it to add its handlers: each is found by its name, none is registered.

    grpc.aio waits for a call to any registered method and to all others side by side, and begins to wait anew with each
    call that comes in: each registered method, called or not, makes all calls dearer.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Leave it at the generic handlers, which are the same ones."""


def _check_routes(routes: Sequence[MethodRoute[Any, Any]]) -> None:
    """Refuse what gRPC would take in silence, and then answer with one of the two handlers."""
    seen: set[str] = set()
    for route in routes:
        method = route.spec
        if method.service in _OWN_SERVICES:
            raise ConfigurationError(f"{method.service} is served by the server itself; leave its servicer out")
        if method.full_name in seen:
            raise ConfigurationError(f"{method.full_name} has two handlers; give the server one servicer of a service")
        seen.add(method.full_name)


def _check_resources(resources: Sequence[Resource]) -> None:
    names = [resource.name for resource in resources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"two resources are named {twice[0]}; health could not tell them apart: rename one")


async def _write(stream: Any, ctx: Context, transport: Any, encode: _Encode) -> None:
    """Write each response when the connection has room for it, and close the handler's stream whatever happens."""
    try:
        async for reply in stream:
            _check(reply, ctx)
            await transport.write(encode(reply, ctx))
    finally:
        await close(stream)


def _decoder(method: MethodSpec[Any, Any]) -> Callable[[bytes], Any]:
    """Return what decodes requests. One that can't be read is its caller's fault; gRPC would answer UNKNOWN."""
    decode = method.decode_request

    def decoded(request: bytes) -> Any:
        try:
            return decode(request)
        except DecodeError:
            name = method.request.DESCRIPTOR.full_name
            raise CarrickError(Code.INVALID_ARGUMENT, f"{method.full_name}: the request is no {name}") from None

    return decoded


def _encoder(method: MethodSpec[Any, Any], most: int) -> _Encode:
    """Return what encodes replies. One that is too large is refused here: gRPC would not say whose or what."""
    encode = method.encode_response

    def encoded(reply: Any, ctx: Context) -> bytes:
        recorded = ctx.call.recorded
        whole = encode(reply) if recorded is None else recorded.encode(reply)
        if len(whole) > most:
            complaint = f"{method.full_name}: its reply of {len(whole)} bytes is above the limit of {most}"
            _logger.error("%s; send less, or give the server another max_message_bytes", complaint)
            raise CarrickError(Code.RESOURCE_EXHAUSTED, complaint)
        return whole

    return encoded


def _check(reply: object, ctx: Context) -> None:
    assert ctx.method is not None
    if not isinstance(reply, ctx.method.response):
        verb = "yielded" if ctx.method.streams_responses else "returned"
        raise TypeError(f"{ctx.method.full_name} {verb} {_named(reply)}, not a {ctx.method.response.__name__}")


def _named(value: object) -> str:
    """Name a value's type only: what it holds may be secret, and this goes to the log."""
    return f"something of type {type(value).__name__}"


def _as_service(method: MethodSpec[Any, Any], handler: Callable[[Any, Context], Any]) -> Service:
    """Return a handler as a Service; one that streams responses is an async generator, which is not awaited."""
    if not method.streams_responses:
        return handler

    async def begin(request: Any, ctx: Context) -> Any:
        stream = handler(request, ctx)
        if isinstance(stream, AsyncIterable):
            return stream
        if isinstance(stream, Coroutine):
            stream.close()
        raise TypeError(f"the handler of {method.full_name} must yield its responses; it returned {_named(stream)}")

    return begin


def _trailers(ctx: Context) -> Metadata:
    """Return the handler's trailers. What can't be sent is logged and left out: the handler's work is done."""
    trailers = ctx.call.trailers
    if not trailers:
        return ()
    try:
        check_metadata(trailers)
        size = metadata_size(trailers)
        complaint = f"{size} bytes are more than {_MAX_TRAILERS}" if size > _MAX_TRAILERS else None
    except (TypeError, CarrickError) as error:
        complaint = str(error)
    if complaint is not None:
        assert ctx.method is not None
        _logger.error("%s: its trailers are not sent: %s", ctx.method.full_name, complaint)
        return ()
    return trailers


async def _refuse(
    transport: "grpc.aio.ServicerContext[Any, Any]",
    error: BaseException,
    method: MethodSpec[Any, Any],
    ctx: Context | None,
) -> NoReturn:
    """Log what a call ended with and send it; there is no context when what came in made none."""
    if ctx is None:
        trailers: Metadata = ()
        answer = answer_for(error, "")
    else:
        with enter(ctx):
            _log_failure(method.full_name, error)
        answer, trailers = answer_for(error, ctx.correlation_id, ctx.call.recorded), _trailers(ctx)
    await transport.abort(grpc_code(answer.code), answer.message, (*answer.trailers, *trailers, *retries_left(error)))
    raise AssertionError("abort raises")


def _log_failure(method: str, error: BaseException) -> None:
    """Log an answer at debug, what this service depends on as a warning, its own fault with a traceback."""
    if not isinstance(error, CarrickError) or isinstance(error, OWN_FAULTS):
        _logger.error("%s failed", method, exc_info=error)
    elif error.attempt is not None or isinstance(error, StoreError):
        _logger.warning("%s failed: %s", method, error)
    elif error.code is Code.INTERNAL:
        _logger.error("%s failed", method, exc_info=error)
    else:
        _logger.debug("%s answered %s", method, error)
