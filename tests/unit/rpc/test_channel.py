from typing import Any

import pytest

from carrick import (
    AttemptKind,
    BreakerOptions,
    CacheOptions,
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    FallbackOptions,
    HedgeOptions,
    MethodPolicy,
    MethodSpec,
    Priority,
    RejectedError,
    RetryBudgetOptions,
    RetryOptions,
    Trace,
    detached,
)
from carrick.allowance import RetryAllowance
from carrick.context import enter
from carrick.observe import BreakerClosed, BreakerOpened
from carrick.rpc import Channel, UnaryCall
from carrick.service import Service
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, OPTIONALLY_KEYED, PLAIN, READ, REPLY, REQUEST, Scripted, Seen, method

_TRACE = Trace("a" * 32, "b" * 16, sampled=True)


class _Bound:
    """A method bound to a service of the test's own, at time 100, with two seconds for each call."""

    def __init__(
        self, of: MethodSpec[PlaceOrderRequest, PlaceOrderResponse] = PLAIN, policy: MethodPolicy | None = None
    ) -> None:
        self._service = Scripted()
        policy = policy or MethodPolicy(deadline_margin=0.0)
        self.call = UnaryCall(of, policy, self._service, 2.0, FakeClock(start=100.0), instruments=None)

    @property
    def ctx(self) -> Context:
        """The context of the last call."""
        return self._service.contexts[-1]


class _Answering:
    """A transport that answers everything."""

    def service(self, method: MethodSpec[Any, Any]) -> Service:
        return Scripted()

    async def close(self) -> None:
        """Hold nothing."""


async def test_a_call_of_nobodys() -> None:
    """Outside of any call it has a new correlation id, its own timeout, and nothing inherited."""
    bound = _Bound()

    assert await bound.call(REQUEST, metadata=(("a", "b"),)) == REPLY

    ctx = bound.ctx
    assert (ctx.method, ctx.deadline, ctx.metadata) == (PLAIN, 102.0, (("a", "b"),))
    assert (ctx.key, ctx.causation_id, ctx.trace) == (None, None, None)
    assert ctx.attempt is ctx.call.winner
    assert ctx.attempt is not None
    assert (ctx.attempt.number, ctx.attempt.kind) == (1, AttemptKind.FIRST)


async def test_a_call_made_while_handling_inherits() -> None:
    """Correlation id, trace and deadline come from what is handled, and its key is the cause."""
    bound = _Bound(KEYED)
    parent = Context(PLAIN, correlation_id="corr", key="event", deadline=101.0, trace=_TRACE)
    with enter(parent):
        await bound.call(REQUEST)

    ctx = bound.ctx
    assert (ctx.correlation_id, ctx.causation_id, ctx.deadline, ctx.trace) == ("corr", "event", 101.0, _TRACE)
    assert ctx.key == Context(PLAIN, key="event").outgoing_key(KEYED.full_name)
    assert ctx.call is not parent.call


async def test_where_the_handled_call_has_no_key_its_cause_is_passed_on() -> None:
    """The nearest known cause is told."""
    bound = _Bound()
    with enter(Context(PLAIN, causation_id="event")):
        await bound.call(REQUEST)

    assert bound.ctx.causation_id == "event"


async def test_detached_calls_inherit_nothing() -> None:
    """Background work has deadline and ids of its own."""
    bound = _Bound()
    with enter(Context(PLAIN, correlation_id="corr", deadline=100.5)), detached():
        await bound.call(REQUEST)

    assert bound.ctx.deadline == 102.0
    assert bound.ctx.correlation_id != "corr"


@pytest.mark.parametrize(
    ("own", "inherited", "expected"),
    [(None, None, 102.0), (7.0, None, 107.0), (7.0, 105.0, 105.0), (1.0, 105.0, 101.0)],
)
async def test_the_deadline(own: float | None, inherited: float | None, expected: float) -> None:
    """The call's own timeout beats the bound one; what is inherited can only shorten it."""
    bound = _Bound()
    with enter(Context(PLAIN, deadline=inherited)):
        await bound.call(REQUEST, timeout=own)

    assert bound.ctx.deadline == expected


async def test_a_given_key_is_used_as_it_is() -> None:
    """The caller's key takes the place of a derived one, and takes no ordinal from later calls."""
    bound = _Bound(KEYED)
    parent = Context(PLAIN, key="inbound")
    with enter(parent):
        await bound.call(REQUEST, key="mine")
        assert bound.ctx.key == "mine"
        await bound.call(REQUEST)

    assert bound.ctx.key == Context(PLAIN, key="inbound").outgoing_key(KEYED.full_name)


@pytest.mark.parametrize("of", [KEYED, OPTIONALLY_KEYED])
async def test_every_keyed_call_has_a_key(of: MethodSpec[PlaceOrderRequest, PlaceOrderResponse]) -> None:
    """Two calls of nobody's have two random keys."""
    bound = _Bound(of)
    await bound.call(REQUEST)
    first = bound.ctx.key
    await bound.call(REQUEST)

    assert first is not None
    assert bound.ctx.key not in (None, first)


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "é"])
async def test_a_bad_key_is_refused_before_it_is_sent(key: str) -> None:
    """The caller hears what a key must look like."""
    bound = _Bound(KEYED)
    with pytest.raises(CarrickError, match="1 to 128 visible ASCII characters") as caught:
        await bound.call(REQUEST, key=key)

    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("target", ["", "host 1", "host:1\n"])
def test_a_target_must_be_one(target: str) -> None:
    """A bad target is refused when the channel is made, not when it is called."""
    with pytest.raises(ConfigurationError, match=r"write host:port"):
        Channel(target)


def test_the_nearest_policy_wins() -> None:
    """A client's policy beats the channel's, which beats the contract's, part by part."""
    contract = method("Method", policy=MethodPolicy(breaker=BreakerOptions(min_calls=1)))
    channel = Channel("host:1", policy=MethodPolicy(breaker=BreakerOptions(min_calls=2), retry=RetryOptions()))
    channel.unary(contract, MethodPolicy(breaker=BreakerOptions(min_calls=3)))

    assert _failures_to_open(channel, contract) == 3


def test_a_policy_for_some_methods() -> None:
    """Where a policy is given by method, others keep what they have; nearer ones still win."""
    policy = MethodPolicy(breaker=BreakerOptions())
    one, other = method("One", policy=policy), method("Other", policy=policy)
    touchy = MethodPolicy(breaker=BreakerOptions(min_calls=1))
    channel = Channel("host:1", policy={PLAIN: policy})
    for each in (PLAIN, KEYED):
        channel.unary(each)
    channel.unary(one, {one: touchy})
    channel.unary(other, {one: touchy})

    assert channel.breaker(PLAIN) is not None
    assert channel.breaker(KEYED) is None
    assert [_failures_to_open(channel, each) for each in (one, other)] == [1, BreakerOptions().min_calls]


def _failures_to_open(channel: Channel, of: MethodSpec[Any, Any]) -> int:
    state = channel.breaker(of)
    assert state is not None
    failures = 0
    while state.state == "closed":
        permit = state.acquire(0.0)
        assert permit is not None
        state.failed(permit, 0.0)
        failures += 1
    return failures


def test_a_policy_that_does_not_fit_a_method_is_refused() -> None:
    """It is when the method is bound, whoever gives the policy; a policy of the method's own takes it away."""
    channel = Channel("host:1", policy=MethodPolicy(cache=CacheOptions()))
    with pytest.raises(ConfigurationError, match=r"^test.v1.Tests/Plain cannot have a cache: .*enabled=False"):
        channel.unary(PLAIN)

    channel.unary(READ)
    channel.unary(PLAIN, {PLAIN: MethodPolicy(cache=CacheOptions(enabled=False))})


def test_a_policy_for_what_is_no_method_is_refused() -> None:
    """The key of a mapping is a method's specification, not its name."""
    with pytest.raises(ConfigurationError, match="'Plain', which is no method"):
        Channel("host:1", policy={"Plain": MethodPolicy()}).unary(PLAIN)


def test_clients_of_a_channel_share_a_methods_breaker() -> None:
    """What one client learns of an endpoint, all know; another method is judged by itself."""
    policy = MethodPolicy(breaker=BreakerOptions())
    one, other = method("One", policy=policy), method("Other", policy=policy)
    channel = Channel("host:1")
    channel.unary(one)
    state = channel.breaker(one)
    channel.unary(one)
    channel.unary(other)

    assert channel.breaker(one) is state
    assert channel.breaker(other) is not state


async def test_a_methods_circuit_is_changed_by_hand() -> None:
    """Who shuts it is obeyed at once and until it is closed, and the channel's observer hears of it once."""
    guarded = method("Guarded", policy=MethodPolicy(breaker=BreakerOptions()))
    seen = Seen()
    channel = Channel("host:1", observe=seen, connect=lambda target, clock: _Answering())
    call = channel.unary(guarded)
    channel.unary(guarded)
    state = channel.breaker(guarded)
    assert state is not None
    state.isolate()
    with pytest.raises(RejectedError, match="held open by hand"):
        await call(REQUEST)
    state.close()

    assert await call(REQUEST) == REPLY
    opened, closed = seen.observations
    assert isinstance(opened, BreakerOpened)
    assert (opened.method, opened.reason) == (guarded.full_name, "isolated")
    assert isinstance(closed, BreakerClosed)


def test_a_method_without_breaker_has_none() -> None:
    """Nothing is kept that no contract asked for, or that was switched off."""
    guarded = method("Guarded", policy=MethodPolicy(breaker=BreakerOptions()))
    channel = Channel("host:1")
    channel.unary(PLAIN)
    channel.unary(guarded, MethodPolicy(breaker=BreakerOptions(enabled=False)))

    assert channel.breaker(PLAIN) is None
    assert channel.breaker(guarded) is None


@pytest.mark.parametrize(
    ("targets", "message"),
    [([], "one target or more"), (["h:1", "h:1"], "each of them once"), (["h:1", "h"], "'h' is no target")],
)
def test_targets_are_checked(targets: list[str], message: str) -> None:
    """When the channel is made."""
    with pytest.raises(ConfigurationError, match=message):
        Channel(targets)


def test_a_part_that_is_switched_off_is_gone() -> None:
    """Whoever asked for it further off."""
    contract = method("Method", policy=MethodPolicy(breaker=BreakerOptions()))
    channel = Channel("host:1", policy=MethodPolicy(breaker=BreakerOptions(enabled=False)))
    channel.unary(contract)
    assert channel.breaker(contract) is None


def test_every_target_has_its_own_breaker() -> None:
    """One that fails says nothing of another."""
    contract = method("Method", policy=MethodPolicy(breaker=BreakerOptions()))
    channel = Channel(["host:1", "host:2"])
    channel.unary(contract)
    first, second = channel.breaker(contract, "host:1"), channel.breaker(contract, "host:2")
    assert first is not None
    assert first is channel.breaker(contract)
    assert first is not second


def test_the_state_of_a_target_that_is_none_is_refused() -> None:
    """A slip in its name would look like a method without a breaker."""
    channel = Channel(["host:1", "host:2"])
    for state in (channel.breaker, channel.limit):
        with pytest.raises(ConfigurationError, match="host:3 is no target of this channel; it has host:1, host:2"):
            state(PLAIN, "host:3")


def test_methods_of_a_service_share_a_retry_budget() -> None:
    """It is there wherever there are retries, unless it is switched off."""
    channel = Channel("host:1")
    channel.unary(method("Plain"))
    assert channel.retry_budget("test.v1.Tests") is None
    channel.unary(method("Retried", policy=MethodPolicy(retry=RetryOptions())))
    budget = channel.retry_budget("test.v1.Tests")
    assert budget is not None
    channel.unary(method("Other", policy=MethodPolicy(retry=RetryOptions())))
    assert channel.retry_budget("test.v1.Tests") is budget
    unbounded = Channel("host:1", policy=MethodPolicy(retry_budget=RetryBudgetOptions(enabled=False)))
    unbounded.unary(method("Retried", policy=MethodPolicy(retry=RetryOptions())))
    assert unbounded.retry_budget("test.v1.Tests") is None


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (MethodPolicy(cache=CacheOptions(ttl=1.0)), "cannot have a cache"),
        (MethodPolicy(hedge=HedgeOptions()), "cannot be hedged"),
        (MethodPolicy(fallback=FallbackOptions(value=5)), "value must be a PlaceOrderResponse, not a int"),
    ],
)
def test_a_policy_given_in_code_must_fit_the_method(policy: MethodPolicy, message: str) -> None:
    """As one in a contract must."""
    with pytest.raises(ConfigurationError, match=message):
        Channel("host:1").unary(PLAIN, policy)


async def test_priority_and_tenant_are_inherited() -> None:
    """What is handled decides; the contract's priority is for calls that come from nowhere."""
    bound = _Bound(policy=MethodPolicy(priority=Priority.CRITICAL))
    await bound.call(REQUEST)
    assert (bound.ctx.priority, bound.ctx.tenant) == (Priority.CRITICAL, None)
    with enter(Context(PLAIN, priority=Priority.SHEDDABLE, tenant="acme")):
        await bound.call(REQUEST)
    assert (bound.ctx.priority, bound.ctx.tenant) == (Priority.SHEDDABLE, "acme")
    with enter(Context(PLAIN)):
        await bound.call(REQUEST)
    assert bound.ctx.priority is Priority.CRITICAL


async def test_what_the_calls_above_allow_is_shared_by_all_calls() -> None:
    """One allowance for everything that is called while handling a call."""
    bound = _Bound()
    parent = Context(PLAIN)
    parent.call.allowance = RetryAllowance(2, inherited=True)
    with enter(parent):
        await bound.call(REQUEST)
    assert bound.ctx.call.allowance is parent.call.allowance


async def test_an_inherited_deadline_leaves_time_to_answer() -> None:
    """Ten milliseconds, unless the policy says otherwise."""
    for policy, expected in ((MethodPolicy(), 100.99), (MethodPolicy(deadline_margin=0.5), 100.5)):
        bound = _Bound(policy=policy)
        with enter(Context(PLAIN, deadline=101.0)):
            await bound.call(REQUEST)
        assert bound.ctx.deadline == pytest.approx(expected)
