"""Where filters are put in order: one function a stack, one line a filter, the outermost first."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from carrick.claim import ClaimStore
from carrick.clock import Clock
from carrick.context import Context
from carrick.event import EventSpec
from carrick.instruments import Instruments
from carrick.method import MethodSpec
from carrick.observe import Observer, log
from carrick.options import MethodPolicy, RetryOptions
from carrick.policy.breaker import BreakerState, breaker
from carrick.policy.budget import RetryBudget, pay_in
from carrick.policy.cache import cache
from carrick.policy.concurrency import ConcurrencyState, concurrency
from carrick.policy.deadline import bound_attempts, refuse_expired
from carrick.policy.fallback import fallback
from carrick.policy.hedge import hedge
from carrick.policy.idempotency import idempotency
from carrick.policy.lag import LoopLag
from carrick.policy.lateness import Lateness
from carrick.policy.rate_limit import RateLimitState, rate_limit
from carrick.policy.replay import keep_requests, read_kept
from carrick.policy.retry import retry
from carrick.policy.shedding import shedding, shedding_state
from carrick.policy.throttle import ThrottleState, throttle
from carrick.policy.validation import validation
from carrick.service import Filter, Service, stack
from carrick.validation import request_check

__all__ = ["client_stack", "endpoint_stack", "event_stack", "resource_stack", "server_stack"]


def client_stack(
    balancer: Service,
    method: MethodSpec[Any, Any],
    policy: MethodPolicy,
    *,
    budget: RetryBudget | None,
    throttling: ThrottleState | None,
    elsewhere: Callable[[Context], bool],
    clock: Clock,
    uniform: Callable[[], float],
    observe: Observer,
    instruments: Instruments | None,
) -> Service:
    """Put a method's client policies in front of its balancer.

    ``elsewhere`` says whether the balancer has an endpoint for a call that it has not tried.
    """
    filters: list[Filter] = []
    repeats = bool(policy.retry or policy.hedge)
    keeps = repeats and method.streams_requests and (method.repeatable or method.keyed)
    if instruments:  # one span for the call, whatever it takes
        filters.append(instruments.call())
    if policy.fallback:  # sees what all the others could not help
        filters.append(fallback(policy.fallback, clock=clock, observe=observe))
    if policy.cache:  # what is answered here is no call to the policies inside
        filters.append(cache(policy.cache, clock=clock, observe=observe))
    if throttling:  # what is refused here is neither tried nor paid for
        filters.append(throttle(throttling, clock=clock, observe=observe))
    if repeats and budget:  # every call pays, those that fail too
        filters.append(pay_in(budget, clock=clock))
    if keeps:  # outside of what begins attempts
        filters.append(keep_requests((RetryOptions() if policy.retry is None else policy.retry).replay_bytes))
    if policy.retry:  # outside the balancer: another try may pick another endpoint
        filters.append(
            retry(policy.retry, budget=budget, elsewhere=elsewhere, clock=clock, uniform=uniform, observe=observe)
        )
    if policy.hedge:  # inside retry: it hedges each try
        filters.append(hedge(policy.hedge, Lateness(policy.hedge), budget=budget, clock=clock, observe=observe))
    if instruments:  # one span for each attempt
        filters.append(instruments.attempt())
    if policy.attempt_timeout or policy.min_remaining:  # inside retry and hedge: each attempt has a time of its own
        filters.append(bound_attempts(policy.attempt_timeout, policy.min_remaining, clock=clock))
    if keeps:
        filters.append(read_kept)
    return stack(balancer, *filters)


def endpoint_stack(
    transport: Service,
    circuit: BreakerState | None,
    limit: ConcurrencyState | None,
    *,
    endpoint: str,
    clock: Clock,
    observe: Observer,
) -> Service:
    """Put what judges a single endpoint in front of its transport."""
    filters: list[Filter] = []
    if circuit is not None:  # outside the limit: what an open circuit refuses need not wait for a place
        filters.append(breaker(circuit, endpoint=endpoint, clock=clock, observe=observe))
    if limit is not None:
        filters.append(concurrency(limit, endpoint=endpoint, clock=clock, observe=observe))
    return stack(transport, *filters)


def server_stack(
    handler: Service,
    method: MethodSpec[Any, Any],
    *,
    clock: Clock,
    claims: ClaimStore | None,
    instruments: Instruments | None,
    extra: Iterable[Filter] = (),
    shed: Filter | None = None,
    lag: LoopLag | None = None,
    uniform: Callable[[], float] = random.random,
    observe: Observer = log,
) -> Service:
    """Put a method's server policies in front of its handler.

    ``extra`` are the user's own; ``shed`` is the filter that all methods of the server share.
    """
    policy = method.policy
    filters: list[Filter] = []
    if instruments:  # sees what the others refuse
        filters.append(instruments.server())
    filters.append(refuse_expired(clock))  # before anything that costs
    if shed:  # before the user's filters: in overload, turning away must cost less than finding out who calls
        filters.append(shed)
    if policy.shedding:
        state = shedding_state(policy.shedding)
        filters.append(shedding(policy.shedding, state, clock=clock, uniform=uniform, observe=observe, lag=lag))
    filters += extra  # who may not call is refused a replay too, and uses up nobody's rate
    if policy.rate_limit:
        filters.append(rate_limit(policy.rate_limit, RateLimitState(policy.rate_limit), clock=clock, observe=observe))
    if method.validated:  # what is not valid claims no key
        filters.append(validation(method, request_check(method)))
    if method.keyed and claims:  # nearest to the work: only what will run claims its key
        filters.append(idempotency(claims, clock=clock))
    return stack(handler, *filters)


def event_stack(handler: Service, event: EventSpec[Any], consumer: str, *, instruments: Instruments | None) -> Service:
    """Put what stands before an event's handler in front of it."""
    return stack(handler, instruments.process(event, consumer)) if instruments else handler


def resource_stack(
    perform: Service,
    circuit: BreakerState | None,
    retrying: RetryOptions | None,
    limit: ConcurrencyState | None,
    *,
    resource: str,
    clock: Clock,
    uniform: Callable[[], float],
    observe: Observer,
    observe_circuit: Observer,
) -> Service:
    """Put what protects a resource, and those who wait for it, in front of what is asked of it."""
    filters: list[Filter] = []
    if circuit is not None:  # outside retry: there is no other endpoint to try, so who is refused is refused at once
        filters.append(breaker(circuit, endpoint=resource, clock=clock, observe=observe_circuit))
    if retrying:  # outside the limit: who waits for another try holds no place
        filters.append(retry(retrying, clock=clock, uniform=uniform, observe=observe))
    if limit is not None:  # nearest to the resource
        filters.append(concurrency(limit, endpoint=resource, clock=clock, observe=observe))
    return stack(perform, *filters)
