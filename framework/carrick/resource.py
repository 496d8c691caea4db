"""Protecting what a service depends on: breakers and retries for its database, its broker and whatever else it names.

What is asked of a resource is a call like any other: it goes through the same policies, in a stack of its own. A
transaction is like a stream of responses: once it is begun, it is not tried again, and it counts once more if the
resource fails before its end.
"""

import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

from google.protobuf.empty_pb2 import Empty
from typing_extensions import TypeIs

from carrick.clock import Clock, SystemClock
from carrick.context import Attempt, AttemptKind, Context, current
from carrick.errors import CarrickError, Code, ConfigurationError, TransportError
from carrick.guard import is_outage
from carrick.method import IdempotencyLevel, MethodKind, MethodSpec
from carrick.observe import BreakerOpened, Observation, Observer, ResourceDegraded, ResourceRecovered, log
from carrick.options import OUTAGES, BreakerOptions, ConcurrencyOptions, RetryOptions
from carrick.policy.breaker import BreakerState
from carrick.policy.concurrency import concurrency_state
from carrick.service import Service
from carrick.stacks import resource_stack
from carrick.stream import close

__all__ = ["RESOURCE_BREAKER", "Resource"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOURCE_BREAKER = BreakerOptions(window_calls=6, min_calls=4, open_for=1.0, trials=1)
"""Counts by number: a transaction that waits for a lock fails seconds after the one before. One trial is enough, since
a resource that is hardly used may not see another for long."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


class Resource:
    """Something that a service depends on, named, with a circuit breaker and retries in front of it.

    Each operation has a circuit of its own, so that readers go on while writers are locked out. While any of them is
    not closed, the resource is :attr:`degraded`: what needs it is refused at once with ``RejectedError``
    (``UNAVAILABLE``), and the server, told of its ``resources``, says so in its health. It recovers by being used.

    ``concurrency`` bounds all that is asked of it at once. Each of the three options may be None. A call counts once
    with its retries, and is as slow as they make it. ``uniform`` gives the random numbers for jitter, from 0 up to 1.
    Used from one event loop. ``GuardedDatabase`` and ``GuardedBroker`` put one in front of a database and a broker.
    """

    def __init__(
        self,
        name: str,
        *,
        breaker: BreakerOptions | None = RESOURCE_BREAKER,
        retry: RetryOptions | None = None,
        concurrency: ConcurrencyOptions | None = None,
        clock: Clock | None = None,
        uniform: Callable[[], float] = random.random,
        observe: Observer = log,
    ) -> None:
        if not _NAME(name):
            raise ConfigurationError(
                f"{name!r} is no name for a resource; use letters, digits, - . and _, like database"
            )
        self._name = name
        self._breaker = breaker
        self._retry = retry
        self._limit = concurrency_state(concurrency) if concurrency else None
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._observe = observe
        self._circuits: dict[str, BreakerState] = {}
        self._stacks: dict[tuple[str, MethodKind, bool], tuple[MethodSpec[Empty, Empty], Service]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._degraded_since: float | None = None

    @property
    def name(self) -> str:
        """The resource's name."""
        return self._name

    @property
    def degraded(self) -> bool:
        """Whether a circuit is open, or on trial."""
        return self._degraded_since is not None

    def breaker(self, operation: str) -> BreakerState | None:
        """Return the state of an operation's breaker, to read or to change by hand; None where there are none."""
        if not self._breaker:
            return None
        if operation not in self._circuits:
            self._circuits[operation] = BreakerState(self._breaker, name=f"{self._name}/{operation}")
            self._stack(operation, MethodKind.UNARY, repeatable=False)  # who changes it by hand is heard from now on
        return self._circuits[operation]

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have ``changed`` called, on the event loop, when :attr:`degraded` turns. Returns what ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    async def call(
        self,
        function: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        operation: str = "call",
        failed: Callable[[BaseException], bool] = is_outage,
        repeatable: bool = False,
    ) -> T:
        """Await ``function(*args)``.

        An error that speaks against the resource counts, and where it is no ``CarrickError`` it becomes a
        ``TransportError`` (``UNAVAILABLE``). Only what is ``repeatable`` is tried again, as ``retry`` says.
        """
        method, service = self._stack(operation, MethodKind.UNARY, repeatable=repeatable)
        result: T = await _ask(service, _Asked(lambda attempt: function(*args), failed), _context(method))
        return result

    def hold(
        self,
        begin: Callable[[], AbstractAsyncContextManager[T]],
        *,
        operation: str,
        failed: Callable[[BaseException], bool] = is_outage,
    ) -> AbstractAsyncContextManager[T]:
        """Enter what ``begin`` returns, trying again as ``retry`` says, and leave it when the block ends.

        Entering it counts, with the time that took. When it, or the block, ends with an error of the resource, that is
        counted as one more call, a failed one. Errors of the user's own count for nothing.
        """
        method, service = self._stack(operation, MethodKind.SERVER_STREAM, repeatable=True)
        return _Block(service, method, begin, failed)

    def _stack(self, operation: str, kind: MethodKind, *, repeatable: bool) -> tuple[MethodSpec[Empty, Empty], Service]:
        key = (operation, kind, repeatable)
        found = self._stacks.get(key)
        if found is None:
            method = MethodSpec(
                service=self._name,
                name=operation,
                request=Empty,
                response=Empty,
                kind=kind,
                idempotency=IdempotencyLevel.IDEMPOTENT if repeatable else IdempotencyLevel.UNKNOWN,
            )
            service = resource_stack(
                self._perform,
                self.breaker(operation),
                self._retry,
                self._limit,
                resource=self._name,
                clock=self._clock,
                uniform=self._uniform,
                observe=self._observe,
                observe_circuit=self._turned,
            )
            found = self._stacks[key] = (method, service)
        return found

    async def _perform(self, asked: "_Asked", ctx: Context) -> Any:
        """Do what was asked, and sort the errors into the resource's and others."""
        attempt = ctx.attempt
        assert attempt is not None
        attempt.sent = True
        try:
            return await asked.begin(attempt)
        except CarrickError as error:
            if error.code in OUTAGES and not asked.failed(error):
                raise _AsideError(error) from None
            error.attempt = error.attempt or attempt
            raise
        except Exception as error:
            if not asked.failed(error):
                raise
            raise TransportError(
                Code.UNAVAILABLE, f"{self._name}: {type(error).__name__}: {error}", attempt=attempt
            ) from error

    def _turned(self, observation: Observation) -> None:
        """Hear of a circuit's change, and tell when that changes what the resource is."""
        degraded = any(circuit.reason is not None for circuit in self._circuits.values())
        now = self._clock.monotonic()
        if degraded and self._degraded_since is None and isinstance(observation, BreakerOpened):
            self._degraded_since = now
            self._observe(
                ResourceDegraded(
                    resource=self._name,
                    operation=observation.method.rpartition("/")[2],
                    reason=observation.reason,
                    failures=observation.failures,
                    slow=observation.slow,
                    calls=observation.calls,
                )
            )
        elif not degraded and self._degraded_since is not None:
            after, self._degraded_since = now - self._degraded_since, None
            self._observe(ResourceRecovered(resource=self._name, after=after))
        else:
            return
        for changed in tuple(self._watchers):
            changed()


def _context(method: MethodSpec[Empty, Empty]) -> Context:
    """Return the context of something asked of a resource: part of what is being handled, and no longer than that."""
    inside = current()
    ctx = (
        Context(method)
        if inside is None
        else Context(method, correlation_id=inside.correlation_id, deadline=inside.deadline, trace=inside.trace)
    )
    return ctx.new_attempt(AttemptKind.FIRST)


class _Asked:
    """A request to a resource: what to do, and which errors of it speak against the resource."""

    __slots__ = ("begin", "failed")

    def __init__(self, begin: Callable[[Attempt], Awaitable[Any]], failed: Callable[[BaseException], bool]) -> None:
        self.begin = begin
        self.failed = failed


class _AsideError(Exception):
    """Carries an error past the filters, which must not judge it: it is not the resource's."""

    def __init__(self, error: CarrickError) -> None:
        super().__init__()
        self.error = error


async def _ask(service: Service, asked: _Asked, ctx: Context) -> Any:
    try:
        return await service(asked, ctx)
    except _AsideError as aside:
        error = aside.error
    raise error


class _Block(Generic[T]):
    """A block that holds something of a resource: to the filters a stream, whose first message is that it was begun."""

    _attempt: Attempt
    _entered: AbstractAsyncContextManager[T]
    _value: T
    _ending: "_Ending"
    _stream: Any

    def __init__(
        self,
        service: Service,
        method: MethodSpec[Empty, Empty],
        begin: Callable[[], AbstractAsyncContextManager[T]],
        failed: Callable[[BaseException], bool],
    ) -> None:
        self._service = service
        self._method = method
        self._begin = begin
        self._failed = failed

    async def __aenter__(self) -> T:
        self._stream = await _ask(self._service, _Asked(self._enter, self._failed), _context(self._method))
        return self._value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            suppressed = await self._entered.__aexit__(kind, error, traceback)
        except BaseException as raised:
            await self._end(raised)
            raise
        await self._end(None if suppressed else error)
        return suppressed

    async def _enter(self, attempt: Attempt) -> "_Ending":
        self._attempt = attempt
        self._entered = self._begin()  # anew for each try
        self._value = await self._entered.__aenter__()
        self._ending = _Ending()
        return self._ending

    async def _end(self, error: BaseException | None) -> None:
        """Tell the filters how the block ended: in order, by the resource's failure, or by something else."""
        if error is not None:
            if not self._is_own(error):
                await close(self._stream)
                return
            error.attempt = self._attempt
        self._ending.error = error
        with suppress(StopAsyncIteration, CarrickError):
            await anext(self._stream)

    def _is_own(self, error: BaseException) -> TypeIs[CarrickError]:
        """Say whether an error is the resource's; one with an attempt is a peer's, or another resource's."""
        return isinstance(error, CarrickError) and error.attempt is None and self._failed(error)


class _Ending:
    """The rest of a block as a stream: it ends, or fails, as it is told."""

    error: CarrickError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration
