from typing import Any

import pytest

from carrick import (
    AttemptKind,
    BreakerOptions,
    CarrickError,
    Code,
    ConfigurationError,
    Context,
    MethodPolicy,
    MethodSpec,
    RejectedError,
    RetryOptions,
    Trace,
    detached,
)
from carrick.context import enter
from carrick.observe import BreakerClosed, BreakerOpened
from carrick.rpc import Channel, UnaryCall
from carrick.service import Service
from carrick.testing import FakeClock
from shop.orders.v1.orders_pb2 import PlaceOrderRequest, PlaceOrderResponse
from tests.unit.calls import KEYED, OPTIONALLY_KEYED, PLAIN, REPLY, REQUEST, Scripted, Seen, method

_TRACE = Trace("a" * 32, "b" * 16, sampled=True)


class _Bound:
    """A method bound to a service of the test's own, at time 100, with two seconds for each call."""

    def __init__(self, of: MethodSpec[PlaceOrderRequest, PlaceOrderResponse] = PLAIN) -> None:
        self._service = Scripted()
        self.call = UnaryCall(of, self._service, 2.0, FakeClock(start=100.0))

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
    state = channel.breaker(contract)
    assert state is not None

    for number in range(3):
        assert state.state == "closed", number
        permit = state.acquire(0.0)
        assert permit is not None
        state.failed(permit, 0.0)
    assert state.state == "open"


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
    channel = Channel("host:1", observe=seen, transport=_Answering())
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
