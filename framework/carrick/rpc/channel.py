"""A client's way to a service."""

import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from carrick.clock import Clock, SystemClock
from carrick.errors import ConfigurationError
from carrick.instruments import Instruments
from carrick.method import MethodKind, MethodSpec, check_policy
from carrick.observe import Observer, log
from carrick.options import MethodPolicy, PolicyOverride, RetryBudgetOptions, override_for
from carrick.policy.breaker import BreakerState
from carrick.policy.budget import RetryBudget
from carrick.policy.concurrency import ConcurrencyState, concurrency_state
from carrick.policy.throttle import ThrottleState
from carrick.rpc.balancer import Balancer
from carrick.rpc.calls import BidiStreamCall, ClientStreamCall, ServerStreamCall, UnaryCall
from carrick.rpc.endpoint import Endpoint, Load
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
    """Calls to a target, ``host:port``, or to several that serve the same.

    Make one a target and share it; close it, or use it as a context manager. It belongs to the event loop of its first
    call. ``policy`` takes the place of the contracts' for all clients on the channel, part by part; a mapping does for
    single methods. ``observe`` is told what the policies do. ``uniform`` gives the random numbers for jitter and
    balancing, from 0 up to 1. A response has at most ``max_message_bytes``, its metadata ``max_metadata_bytes``; a
    larger one is a ``TransportError`` with ``RESOURCE_EXHAUSTED``. ``connect`` makes what takes the place of a
    connection to a target, as fakes in tests do.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        policy: PolicyOverride | None = None,
        clock: Clock | None = None,
        uniform: Callable[[], float] = random.random,
        observe: Observer = log,
        instruments: Instruments | None = None,
        max_message_bytes: int = 4 * 1024 * 1024,
        max_metadata_bytes: int = 16 * 1024,
        connect: Callable[[str, Clock], Transport] | None = None,
    ) -> None:
        self.targets = _checked(target)
        self._policy = policy
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._observe = observe
        self._instruments = instruments
        if connect is None:
            connect = partial(GrpcTransport, max_message_bytes=max_message_bytes, max_metadata_bytes=max_metadata_bytes)
        self._transports = {each: connect(each, self._clock) for each in self.targets}
        self._loads = {each: Load() for each in self.targets}
        self._breakers: dict[tuple[MethodSpec[Any, Any], str], BreakerState] = {}
        self._limits: dict[tuple[MethodSpec[Any, Any], str], ConcurrencyState] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._throttles: dict[str, ThrottleState] = {}

    def unary(self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None) -> UnaryCall[Req, Res]:
        """Build the stack of a unary method. Clients of one channel share breakers, limits, budgets and throttles.

        Their options are those of the client made first.
        """
        return UnaryCall(*self._bind(method, policy, MethodKind.UNARY), DEFAULT_TIMEOUT, self._clock, self._instruments)

    def client_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> ClientStreamCall[Req, Res]:
        """Build the stack of a client-streaming method. It has no deadline unless one is given or inherited."""
        return ClientStreamCall(
            *self._bind(method, policy, MethodKind.CLIENT_STREAM), None, self._clock, self._instruments
        )

    def server_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> ServerStreamCall[Req, Res]:
        """Build the stack of a server-streaming method. It has no deadline unless one is given or inherited."""
        return ServerStreamCall(
            *self._bind(method, policy, MethodKind.SERVER_STREAM), None, self._clock, self._instruments
        )

    def bidi_stream(
        self, method: MethodSpec[Req, Res], policy: PolicyOverride | None = None
    ) -> BidiStreamCall[Req, Res]:
        """Build the stack of a bidirectional method. It has no deadline unless one is given or inherited."""
        return BidiStreamCall(*self._bind(method, policy, MethodKind.BIDI_STREAM), None, self._clock, self._instruments)

    def breaker(self, method: MethodSpec[Any, Any], target: str | None = None) -> BreakerState | None:
        """Return the state of a bound method's breaker, to read or to change by hand; None when it has none.

        It is that of ``target``, or of the channel's first. Raises ``ConfigurationError`` for a target that it lacks.
        """
        return self._breakers.get((method, self._known(target)))

    def limit(self, method: MethodSpec[Any, Any], target: str | None = None) -> ConcurrencyState | None:
        """Return the state of the limit of a bound method's calls, as :meth:`breaker` does."""
        return self._limits.get((method, self._known(target)))

    def retry_budget(self, service: str) -> RetryBudget | None:
        """Return the budget of retries and hedges of a service, by its full name; None when no method has any."""
        return self._budgets.get(service)

    def throttle(self, service: str) -> ThrottleState | None:
        """Return the state of a service's throttle, by its full name; None when no method has any."""
        return self._throttles.get(service)

    async def close(self) -> None:
        """Close the connections; calls under way end with ``TransportError``."""
        for transport in self._transports.values():
            await transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _known(self, target: str | None) -> str:
        if target is None:
            return self.targets[0]
        if target not in self.targets:
            raise ConfigurationError(f"{target} is no target of this channel; it has {', '.join(self.targets)}")
        return target

    def _bind(
        self, method: MethodSpec[Req, Res], override: PolicyOverride | None, kind: MethodKind
    ) -> tuple[MethodSpec[Req, Res], MethodPolicy, Service]:
        """Return a method, its policy here, and what stands in front of it."""
        if method.kind is not kind:
            raise ConfigurationError(
                f"{method.full_name} is {method.kind.value}: bind it with Channel.{method.kind.value}()"
            )
        policy = method.policy
        for each in (self._policy, override):
            policy = policy.overridden_by(override_for(each, method))
        check_policy(method, policy)
        balancer = Balancer([self._endpoint(method, policy, target) for target in self.targets], self._uniform)
        service = client_stack(
            balancer,
            method,
            policy,
            budget=self._budget(method, policy),
            throttling=self._throttle(method, policy),
            elsewhere=balancer.elsewhere,
            clock=self._clock,
            uniform=self._uniform,
            observe=self._observe,
            instruments=self._instruments,
        )
        return method, policy, service

    def _budget(self, method: MethodSpec[Any, Any], policy: MethodPolicy) -> RetryBudget | None:
        options = RetryBudgetOptions() if policy.retry_budget is None else policy.retry_budget
        if not options or not (policy.retry or policy.hedge):
            return None
        return self._budgets.setdefault(method.service, RetryBudget(options))

    def _throttle(self, method: MethodSpec[Any, Any], policy: MethodPolicy) -> ThrottleState | None:
        if not policy.throttle:
            return None
        return self._throttles.setdefault(method.service, ThrottleState(policy.throttle, self._uniform))

    def _endpoint(self, method: MethodSpec[Any, Any], policy: MethodPolicy, target: str) -> Endpoint:
        circuit, limit, key = None, None, (method, target)
        if policy.breaker:
            circuit = self._breakers.setdefault(key, BreakerState(policy.breaker, name=method.full_name))
        if policy.concurrency:
            limit = self._limits.setdefault(key, concurrency_state(policy.concurrency))
        service = endpoint_stack(
            self._transports[target].service(method),
            circuit,
            limit,
            endpoint=target,
            clock=self._clock,
            observe=self._observe,
        )
        return Endpoint(target, service, _admits(circuit, limit, self._clock), self._loads[target])


def _admits(circuit: BreakerState | None, limit: ConcurrencyState | None, clock: Clock) -> Callable[[], bool]:
    def admits() -> bool:
        if circuit is not None and not circuit.admits(clock.monotonic()):
            return False
        return limit is None or limit.in_flight < limit.limit

    return admits


def _checked(target: str | Sequence[str]) -> tuple[str, ...]:
    targets = (target,) if isinstance(target, str) else tuple(target)
    for each in targets:
        if not _TARGET(each):
            raise ConfigurationError(f"{each!r} is no target; write host:port, for example 127.0.0.1:8080")
    if not targets or len(set(targets)) < len(targets):
        raise ConfigurationError("a channel needs one target or more, and each of them once")
    return targets
