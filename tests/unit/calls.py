"""Methods, contexts and services that many tests need."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from carrick import (
    AttemptKind,
    CarrickError,
    Clock,
    Code,
    Context,
    IdempotencyLevel,
    IdempotencyOptions,
    KeyRule,
    Metadata,
    MethodPolicy,
    MethodSpec,
    RejectedError,
    RemoteError,
    Service,
)
from carrick.instruments import Instruments
from carrick.observe import Observation, Observer, ignore
from carrick.policy.budget import RetryBudget
from carrick.policy.throttle import ThrottleState
from carrick.stacks import client_stack
from shop.orders.v1.orders_pb2 import GetOrderRequest, GetOrderResponse, PlaceOrderRequest, PlaceOrderResponse

REQUEST = PlaceOrderRequest(customer_id="c-1")
REPLY = PlaceOrderResponse(order_id="o-1")


def method(
    name: str,
    *,
    idempotency: IdempotencyLevel = IdempotencyLevel.UNKNOWN,
    policy: MethodPolicy | None = None,
) -> MethodSpec[PlaceOrderRequest, PlaceOrderResponse]:
    """Return a method of the service ``test.v1.Tests``."""
    return MethodSpec(
        service="test.v1.Tests",
        name=name,
        request=PlaceOrderRequest,
        response=PlaceOrderResponse,
        idempotency=idempotency,
        policy=policy or MethodPolicy(),
    )


PLAIN = method("Plain")
REPEATABLE = method("Repeatable", idempotency=IdempotencyLevel.IDEMPOTENT)
KEYED = method("Keyed", policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.REQUIRED)))
OPTIONALLY_KEYED = method("Optional", policy=MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.OPTIONAL)))
READ = MethodSpec(
    service="test.v1.Tests",
    name="Read",
    request=GetOrderRequest,
    response=GetOrderResponse,
    idempotency=IdempotencyLevel.NO_SIDE_EFFECTS,
)


def first_attempt(
    of: MethodSpec[Any, Any] = PLAIN, *, deadline: float | None = None, key: str | None = None
) -> Context:
    """Return a client's context as it enters the stack."""
    return Context(of, correlation_id="corr", deadline=deadline, key=key).new_attempt(AttemptKind.FIRST)


class Scripted:
    """A Service that ends as it was told, one outcome a call and the last one ever after.

    ``OK`` is a reply; another code is the peer's answer to a request that was sent; an error is raised as it is and
    nothing was sent.
    """

    def __init__(self, *outcomes: Code | BaseException, endpoint: str = "here", trailers: Metadata = ()) -> None:
        self._outcomes = list(outcomes) or [Code.OK]
        self._trailers = trailers
        self.id = endpoint
        self.contexts: list[Context] = []

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self.contexts)

    async def __call__(self, request: Message, ctx: Context) -> PlaceOrderResponse:
        """End as told."""
        self.contexts.append(ctx)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome
        attempt = ctx.attempt
        if attempt is not None:
            attempt.endpoint, attempt.sent, attempt.code = self.id, True, outcome
        if outcome is Code.OK:
            return REPLY
        if attempt is not None:
            attempt.trailers = self._trailers
        raise RemoteError(outcome, "as told", attempt=attempt)


class Hanging:
    """A Service that never ends by itself; ``entered`` says that it was called."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request: Message, ctx: Context) -> PlaceOrderResponse:
        """Wait until cancelled."""
        if ctx.attempt is not None:
            ctx.attempt.sent = True
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return REPLY


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        """Keep it."""
        self.observations.append(observation)

    @property
    def names(self) -> list[str]:
        """The kinds of what was observed, in order."""
        return [type(each).__name__ for each in self.observations]


def client(
    balancer: Service,
    policy: MethodPolicy,
    *,
    of: MethodSpec[Any, Any] = PLAIN,
    clock: Clock,
    budget: RetryBudget | None = None,
    throttling: ThrottleState | None = None,
    observe: Observer = ignore,
    instruments: Instruments | None = None,
) -> Service:
    """Return a client's stack in front of a balancer that may be any Service, whose jitter is always the middle."""
    return client_stack(
        balancer,
        of,
        policy,
        budget=budget,
        throttling=throttling,
        elsewhere=getattr(balancer, "elsewhere", lambda ctx: False),
        clock=clock,
        uniform=half,
        observe=observe,
        instruments=instruments,
    )


def rejected(message: str = "not now") -> CarrickError:
    """Return the error of a call that was never sent."""
    return RejectedError(Code.UNAVAILABLE, message)


def half() -> float:
    """Return the middle of the random numbers."""
    return 0.5


def fixed(value: float) -> Callable[[], float]:
    """Return a source of one random number."""
    return lambda: value


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
