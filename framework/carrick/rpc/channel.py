"""A client's way to a service."""

import random
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock, SystemClock
from carrick.errors import ConfigurationError
from carrick.instruments import Instruments
from carrick.method import MethodKind, MethodSpec
from carrick.observe import Observer, log
from carrick.options import MethodPolicy
from carrick.policy.breaker import BreakerState
from carrick.rpc.balancer import Balancer
from carrick.rpc.calls import BidiStreamCall, ClientStreamCall, ServerStreamCall, UnaryCall
from carrick.rpc.endpoint import Endpoint
from carrick.rpc.transport import GrpcTransport, Transport
from carrick.service import Service
from carrick.stacks import client_stack, endpoint_stack

__all__ = ["DEFAULT_TIMEOUT", "Channel"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

_TARGET = re.compile(r"[^\s/]+:\d{1,5}").fullmatch

DEFAULT_TIMEOUT = 10.0
"""Seconds for a unary call whose contract, client and caller give no timeout."""


class Channel:
    """Calls to one target, ``host:port``. Make one a target and share it; close it, or use it as a context manager.

    Belongs to the event loop of its first call. ``policy`` takes the place of the contracts' for all clients on the
    channel, part by part. ``uniform`` gives the random numbers for jitter, from 0 up to 1.
    A response has at most ``max_message_bytes``, its metadata ``max_metadata_bytes``; a larger one is a
    ``TransportError`` with ``RESOURCE_EXHAUSTED``.
    ``transport`` takes the place of a gRPC connection to the target, as fakes in tests do.
    """

    def __init__(
        self,
        target: str,
        *,
        policy: MethodPolicy | None = None,
        clock: Clock | None = None,
        uniform: Callable[[], float] = random.random,
        observe: Observer = log,
        instruments: Instruments | None = None,
        max_message_bytes: int = 4 * 1024 * 1024,
        max_metadata_bytes: int = 16 * 1024,
        transport: Transport | None = None,
    ) -> None:
        if not _TARGET(target):
            raise ConfigurationError(f"{target!r} is no target; write host:port, for example 127.0.0.1:8080")
        self.target = target
        self._policy = policy
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._observe = observe
        self._instruments = instruments
        self._transport = transport or GrpcTransport(
            target, self._clock, max_message_bytes=max_message_bytes, max_metadata_bytes=max_metadata_bytes
        )
        self._breakers: dict[MethodSpec[Any, Any], BreakerState] = {}

    def unary(self, method: MethodSpec[Req, Res], policy: MethodPolicy | None = None) -> UnaryCall[Req, Res]:
        """Build the stack of a unary method. Clients of one channel share the breaker of a method."""
        service, timeout = self._stack(method, policy, MethodKind.UNARY)
        return UnaryCall(method, service, timeout or DEFAULT_TIMEOUT, self._clock)

    def client_stream(
        self, method: MethodSpec[Req, Res], policy: MethodPolicy | None = None
    ) -> ClientStreamCall[Req, Res]:
        """Build the stack of a client-streaming method. It has no deadline unless one is given or inherited."""
        return ClientStreamCall(method, *self._stack(method, policy, MethodKind.CLIENT_STREAM), self._clock)

    def server_stream(
        self, method: MethodSpec[Req, Res], policy: MethodPolicy | None = None
    ) -> ServerStreamCall[Req, Res]:
        """Build the stack of a server-streaming method. It has no deadline unless one is given or inherited."""
        return ServerStreamCall(method, *self._stack(method, policy, MethodKind.SERVER_STREAM), self._clock)

    def bidi_stream(self, method: MethodSpec[Req, Res], policy: MethodPolicy | None = None) -> BidiStreamCall[Req, Res]:
        """Build the stack of a bidirectional method. It has no deadline unless one is given or inherited."""
        return BidiStreamCall(method, *self._stack(method, policy, MethodKind.BIDI_STREAM), self._clock)

    def breaker(self, method: MethodSpec[Any, Any]) -> BreakerState | None:
        """Return the state of a bound method's breaker, or None when it has none."""
        return self._breakers.get(method)

    async def close(self) -> None:
        """Close the connection; calls under way end with ``TransportError``."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _stack(
        self, method: MethodSpec[Any, Any], policy: MethodPolicy | None, kind: MethodKind
    ) -> tuple[Service, float | None]:
        """Return what stands in front of a method, and the timeout of its calls."""
        if method.kind is not kind:
            raise ConfigurationError(
                f"{method.full_name} is {method.kind.value}: bind it with Channel.{method.kind.value}()"
            )
        effective = method.policy.overridden_by(self._policy).overridden_by(policy)
        service = client_stack(
            Balancer([self._endpoint(method, effective)]),
            effective,
            clock=self._clock,
            uniform=self._uniform,
            observe=self._observe,
            instruments=self._instruments,
        )
        return service, effective.timeout

    def _endpoint(self, method: MethodSpec[Any, Any], policy: MethodPolicy) -> Endpoint:
        state = None
        if policy.breaker is not None:
            state = self._breakers.setdefault(
                method, BreakerState(policy.breaker, name=f"{method.full_name} {self.target}")
            )
        service = endpoint_stack(
            self._transport.service(method),
            state,
            endpoint=self.target,
            clock=self._clock,
            observe=self._observe,
        )
        return Endpoint(self.target, service, _admits(state, self._clock))


def _admits(state: BreakerState | None, clock: Clock) -> Callable[[], bool]:
    if state is None:
        return lambda: True
    return lambda: state.admits(clock.monotonic())
