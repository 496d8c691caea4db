"""A client's way to a service."""

import random
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock, SystemClock
from carrick.context import Attempt, AttemptKind, Call, Context, Metadata, current
from carrick.errors import CarrickError, Code, ConfigurationError
from carrick.ids import MAX_ID_LENGTH, accepted_id, random_id
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.observe import Observer, log
from carrick.options import MethodPolicy
from carrick.policy.breaker import BreakerState
from carrick.policy.deadline import effective_deadline
from carrick.rpc.balancer import Balancer
from carrick.rpc.endpoint import Endpoint
from carrick.rpc.transport import GrpcTransport
from carrick.service import Service
from carrick.stacks import client_stack, endpoint_stack

__all__ = ["DEFAULT_TIMEOUT", "Channel", "UnaryCall"]

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

_TARGET = re.compile(r"[^\s/]+:\d{1,5}").fullmatch

DEFAULT_TIMEOUT = 10.0
"""Seconds for a call whose contract, client and caller give no timeout."""


class UnaryCall(Generic[Req, Res]):
    """A method, bound to a channel: call it with a request.

    The call inherits correlation id and deadline from the call or event that is being handled, and derives its
    idempotency key from it.
    """

    __slots__ = ("_clock", "_method", "_service", "_timeout")

    def __init__(self, method: MethodSpec[Req, Res], service: Service, timeout: float, clock: Clock) -> None:
        self._method = method
        self._service = service
        self._timeout = timeout
        self._clock = clock

    async def __call__(
        self, request: Req, *, timeout: float | None = None, key: str | None = None, metadata: Metadata = ()
    ) -> Res:
        """Make the call. ``timeout`` is in seconds, ``key`` the idempotency key in place of a derived one.

        Raises a ``CarrickError``; cancelling cancels the call at the peer.
        """
        if not isinstance(request, self._method.request):
            raise TypeError(
                f"{self._method.full_name} takes a {self._method.request.__name__}, not a {type(request).__name__}"
            )
        reply: Res = await self._service(request, self._context(timeout, key, metadata))
        return reply

    def _context(self, timeout: float | None, key: str | None, metadata: Metadata) -> Context:
        method = self._method
        parent = current()
        if key is not None and accepted_id(key) is None:
            raise CarrickError(
                Code.INVALID_ARGUMENT,
                f"{method.full_name}: the idempotency key must be 1 to {MAX_ID_LENGTH} visible ASCII characters",
            )
        if key is None and method.keyed:
            key = parent.outgoing_key(method.full_name) if parent else random_id()
        call = Call()
        attempt = Attempt(1, AttemptKind.FIRST)
        call.attempts.append(attempt)
        return Context(
            method,
            correlation_id=parent.correlation_id if parent else None,
            causation_id=(parent.key or parent.causation_id) if parent else None,
            deadline=effective_deadline(
                self._clock.monotonic(),
                self._timeout if timeout is None else timeout,
                parent.deadline if parent else None,
            ),
            key=key,
            metadata=metadata,
            trace=parent.trace if parent else None,
            call=call,
            attempt=attempt,
        )


class Channel:
    """Calls to one target, ``host:port``. Make one a target and share it; close it, or use it as a context manager.

    Belongs to the event loop of its first call. ``policy`` takes the place of the contracts' for all clients on the
    channel, part by part. ``uniform`` gives the random numbers for jitter, from 0 up to 1.
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
    ) -> None:
        if not _TARGET(target):
            raise ConfigurationError(f"{target!r} is no target; write host:port, for example 127.0.0.1:8080")
        self.target = target
        self._policy = policy
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._observe = observe
        self._instruments = instruments
        self._transport = GrpcTransport(target, self._clock)
        self._breakers: dict[MethodSpec[Any, Any], BreakerState] = {}

    def bind(self, method: MethodSpec[Req, Res], policy: MethodPolicy | None = None) -> UnaryCall[Req, Res]:
        """Build the method's stack. Clients of one channel share the breaker of a method."""
        effective = method.policy.overridden_by(self._policy).overridden_by(policy)
        service = client_stack(
            Balancer([self._endpoint(method, effective)]),
            effective,
            clock=self._clock,
            uniform=self._uniform,
            observe=self._observe,
            instruments=self._instruments,
        )
        return UnaryCall(method, service, effective.timeout or DEFAULT_TIMEOUT, self._clock)

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

    def _endpoint(self, method: MethodSpec[Any, Any], policy: MethodPolicy) -> Endpoint:
        state = None
        if policy.breaker is not None:
            state = self._breakers.setdefault(
                method, BreakerState(policy.breaker, name=f"{method.full_name} {self.target}")
            )
        service = endpoint_stack(
            self._transport.unary(method),
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
