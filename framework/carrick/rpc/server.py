"""A gRPC server: handlers behind their stacks, health, reflection, and a stop that finishes what was begun."""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from carrick.cancellation import cancelled
from carrick.claim import ClaimStore
from carrick.clock import Clock, SystemClock
from carrick.context import Context, Metadata, enter
from carrick.errors import CarrickError, Code, ConfigurationError, StoreError
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.route import MethodRoute
from carrick.rpc.health import Health
from carrick.rpc.metadata import check_metadata, context_from
from carrick.rpc.status import OWN_FAULTS, answer_for, grpc_code
from carrick.service import Filter, Service
from carrick.stacks import server_stack
from carrick.stream import close

__all__ = ["Server", "Servicer"]

_CLEAN_UP = 5.0
_OWN_SERVICES = ("grpc.health.v1.Health", reflection.SERVICE_NAME)
_FOR_THE_PROCESS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_logger = logging.getLogger("carrick.server")


class Servicer(Protocol):
    """What generated servicers are: something that pairs methods with handlers."""

    def routes(self) -> tuple[MethodRoute[Any, Any], ...]:
        """Return a route for each method."""
        ...


class Server:
    """Serves the methods of servicers, with health and reflection. Starts and stops as a context manager.

    ``host`` is loopback unless told. Port 0 takes a free one: read :attr:`port` once it runs. ``claims`` keeps the
    idempotency records; it must be there when a contract gives a method a key. ``filters`` are the user's own,
    and stand before idempotency, so that who may not call is not answered from a record either. At most
    ``max_concurrent_calls`` run at once, and a message has at most ``max_message_bytes``.

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
        max_concurrent_calls: int = 1000,
        max_message_bytes: int = 4 * 1024 * 1024,
        grace: float = 10.0,
        drain_delay: float = 0.0,
    ) -> None:
        self._host = host
        self._requested_port = port
        self._clock = clock or SystemClock()
        self._grace = grace
        self._drain_delay = drain_delay
        self._max_concurrent_calls = max_concurrent_calls
        self._max_message_bytes = max_message_bytes
        self._running = 0
        self._idle = asyncio.Event()
        self._health = Health()
        self._server: grpc.aio.Server | None = None
        self._routes = [route for servicer in servicers for route in servicer.routes()]
        _check_routes(self._routes)
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
            ),
            maximum_concurrent_rpcs=self._max_concurrent_calls,
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
        await self._health.serving(self.service_names)
        _logger.info("serving on %s", self.address, extra={"services": list(self.service_names)})

    async def stop(self) -> None:
        """Drain and stop, as the class says. Calling it again does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._health.draining()
        _logger.info("draining", extra={"running": self._running})
        if self._drain_delay:
            await asyncio.sleep(self._drain_delay)
        stopping = asyncio.create_task(server.stop(self._grace))
        await self._until_idle(self._grace)
        self._health.dismiss_watchers()
        await stopping
        await self._until_idle(_CLEAN_UP)  # for gRPC a cancelled call is over, while its handler still rolls back

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
        )

    def _handler(self, method: MethodSpec[Any, Any], service: Service) -> "Callable[[Metadata], _Handler]":
        """Return what makes the handler of a call with its metadata; where responses are streamed, it writes them."""
        monotonic = self._clock.monotonic
        streams = method.streams_responses

        async def handle(metadata: Metadata, request: Any, transport: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            left: float | None = transport.time_remaining()
            ctx = None
            self._running += 1
            try:
                deadline = None if left is None else monotonic() + left
                ctx = context_from(method, metadata, deadline=deadline, peer=transport.peer())
                with enter(ctx):
                    reply = await service(request, ctx)
                    if streams:
                        await _write(reply, ctx, transport)
                    else:
                        _check(reply, ctx)
                if trailers := _trailers(ctx):
                    transport.set_trailing_metadata(trailers)
                return reply  # which grpc does not look at where the responses are written
            except BaseException as error:  # whatever a handler raises becomes a status: its caller waits
                if cancelled(error) or isinstance(error, _FOR_THE_PROCESS):
                    raise
                await _refuse(transport, error, method, ctx)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()

        return lambda metadata: _Handler(method, partial(handle, metadata))

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

    def __init__(self, method: MethodSpec[Any, Any], handle: Any) -> None:
        self.request_streaming = method.streams_requests
        self.response_streaming = method.streams_responses
        self.request_deserializer = method.decode_request
        self.response_serializer = method.encode_response
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


async def _write(stream: Any, ctx: Context, transport: Any) -> None:
    """Write each response when the connection has room for it, and close the handler's stream whatever happens."""
    try:
        async for reply in stream:
            _check(reply, ctx)
            await transport.write(reply)
    finally:
        await close(stream)


def _check(reply: object, ctx: Context) -> None:
    assert ctx.method is not None
    if not isinstance(reply, ctx.method.response):
        verb = "yielded" if ctx.method.streams_responses else "returned"
        raise TypeError(f"{ctx.method.full_name} {verb} {reply!r}, not a {ctx.method.response.__name__}")


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
        raise TypeError(f"the handler of {method.full_name} must yield its responses; it returned {stream!r}")

    return begin


def _trailers(ctx: Context) -> Metadata:
    """Return the handler's trailers. What can't be sent is logged and left out: the handler's work is done."""
    trailers = ctx.call.trailers
    if not trailers:
        return ()
    try:
        check_metadata(trailers)
    except (TypeError, CarrickError) as error:
        assert ctx.method is not None
        _logger.error("%s: its trailers are not sent: %s", ctx.method.full_name, error)
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
        answer, trailers = answer_for(error, ctx.correlation_id), _trailers(ctx)
    await transport.abort(grpc_code(answer.code), answer.message, (*answer.trailers, *trailers))
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
