"""A gRPC server: handlers behind their stacks, health, reflection, and a stop that finishes what was begun."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from carrick.claim import ClaimStore
from carrick.clock import Clock, SystemClock
from carrick.context import detached
from carrick.errors import ConfigurationError
from carrick.instruments import Instruments
from carrick.observe import Observer, log
from carrick.options import SheddingOptions
from carrick.policy.lag import LoopLag, sample
from carrick.policy.shedding import shedding as shedding_filter
from carrick.policy.shedding import shedding_state
from carrick.resource import Resource
from carrick.route import MethodRoute
from carrick.rpc.handlers import Handlers, Unregistered
from carrick.rpc.health import Health
from carrick.rpc.inbound import as_service, inbound
from carrick.rpc.limits import metadata_limit
from carrick.rpc.running import Running
from carrick.service import Filter, Service
from carrick.stacks import server_stack
from carrick.store.housekeeping import Housekeeping

__all__ = ["Server", "Servicer"]

_CLEAN_UP = 5.0
_SHEDDING = SheddingOptions()
_OWN_SERVICES = ("grpc.health.v1.Health", reflection.SERVICE_NAME)
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
        self._running = Running()
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
        server = self._bound()
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
        _logger.info("draining", extra={"running": self._running.count})
        if self._drain_delay:
            await self._clock.sleep(self._drain_delay)
        stopping = asyncio.create_task(server.stop(self._grace))
        if self._sampler is not None:
            self._sampler.cancel()
            self._sampler = None
        await self._running.until_idle(self._grace)
        self._health.dismiss_watchers()
        await stopping
        await self._running.until_idle(_CLEAN_UP)  # to gRPC a cancelled call is over; its handler still rolls back
        await self._housekeeping.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

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
            as_service(route.spec, route.handler),
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

    def _bound(self) -> grpc.aio.Server:
        """Return a server that has its handlers and its port, and does not serve yet."""
        server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a port that is taken is an error
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
                *metadata_limit(self._max_metadata_bytes),
            ),
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        own: Any = Unregistered(server)
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
        return server

    def _handlers(self) -> Handlers:
        return Handlers(
            {
                f"/{method.full_name}": inbound(
                    method,
                    service,
                    monotonic=self._clock.monotonic,
                    max_message_bytes=self._max_message_bytes,
                    running=self._running,
                )
                for method, service in self._services
            }
        )

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
