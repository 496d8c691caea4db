"""Where filters are put in order: one function a stack, one line a filter, the outermost first."""

from collections.abc import Callable, Iterable
from typing import Any

from carrick.claim import ClaimStore
from carrick.clock import Clock
from carrick.event import EventSpec
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.observe import Observer
from carrick.options import MethodPolicy
from carrick.policy.breaker import BreakerState, breaker
from carrick.policy.deadline import refuse_expired
from carrick.policy.idempotency import idempotency
from carrick.policy.retry import retry
from carrick.policy.validation import validation
from carrick.service import Filter, Service, stack
from carrick.validation import request_check

__all__ = ["client_stack", "endpoint_stack", "event_stack", "server_stack"]


def client_stack(
    balancer: Service,
    policy: MethodPolicy,
    *,
    clock: Clock,
    uniform: Callable[[], float],
    observe: Observer,
    instruments: Instruments | None,
) -> Service:
    """Put a method's client policies in front of its balancer."""
    filters: list[Filter] = []
    if instruments:  # one span for the call, whatever it takes
        filters.append(instruments.call())
    if policy.retry and policy.retry.max_attempts > 1:  # outside the balancer: another try may pick another endpoint
        filters.append(retry(policy.retry, clock=clock, uniform=uniform, observe=observe))
    if instruments:  # one span for each try
        filters.append(instruments.attempt())
    return stack(balancer, *filters)


def endpoint_stack(
    transport: Service, state: BreakerState | None, *, endpoint: str, clock: Clock, observe: Observer
) -> Service:
    """Put what judges a single endpoint in front of its transport."""
    if state is None:
        return transport
    return stack(transport, breaker(state, endpoint=endpoint, clock=clock, observe=observe))


def server_stack(
    handler: Service,
    method: MethodSpec[Any, Any],
    *,
    clock: Clock,
    claims: ClaimStore | None,
    instruments: Instruments | None,
    extra: Iterable[Filter] = (),
) -> Service:
    """Put a method's server policies in front of its handler; ``extra`` are the user's own."""
    filters: list[Filter] = []
    if instruments:  # sees what the others refuse
        filters.append(instruments.server())
    filters.append(refuse_expired(clock))  # before anything that costs
    filters += extra  # who may not call is refused a replay too
    if method.validated:  # what is not valid claims no key
        filters.append(validation(method, request_check(method)))
    if method.keyed and claims:  # nearest to the work: only what will run claims its key
        filters.append(idempotency(claims, clock=clock))
    return stack(handler, *filters)


def event_stack(handler: Service, event: EventSpec[Any], consumer: str, *, instruments: Instruments | None) -> Service:
    """Put what stands before an event's handler in front of it."""
    return stack(handler, instruments.process(event, consumer)) if instruments else handler
