import asyncio
from typing import Any

import pytest

from carrick import Attempt, AttemptKind, Call, CarrickError, Context, Priority, Trace, calling, current, detached
from carrick.context import enter
from tests.unit.calls import PLAIN

_TRACE = Trace("a" * 32, "b" * 16, sampled=True)


def _full() -> Context:
    return Context(
        PLAIN,
        correlation_id="corr",
        causation_id="cause",
        deadline=12.5,
        key="key",
        metadata=(("name", "value"),),
        peer="ipv4:127.0.0.1:1",
        trace=_TRACE,
        call=Call(),
        attempt=Attempt(1, AttemptKind.FIRST),
    )


def _fields(ctx: Context) -> dict[str, Any]:
    return {name: getattr(ctx, name) for name in Context.__slots__}


def test_a_new_attempt_changes_the_attempt_only() -> None:
    """The copy shares everything but its attempt with the original, which stays as it was."""
    ctx = _full()
    before = _fields(ctx)

    copy = ctx.new_attempt(AttemptKind.RETRY)

    assert _fields(ctx) == before
    assert _fields(copy) == before | {"attempt": copy.attempt}
    assert copy.attempt is not ctx.attempt


def test_with_trace_changes_the_trace_only() -> None:
    """The copy has the new trace position, the original the old one."""
    ctx = _full()
    before = _fields(ctx)
    other = Trace("c" * 32, "d" * 16, sampled=False)

    copy = ctx.with_trace(other)

    assert _fields(ctx) == before
    assert _fields(copy) == before | {"trace": other}


def test_a_context_has_no_room_for_more() -> None:
    """Nothing can be smuggled along on a context."""
    with pytest.raises(AttributeError):
        Context(PLAIN).extra = 1  # type: ignore[attr-defined]


def test_attempts_are_numbered_by_their_call() -> None:
    """Attempts count from 1 and say why they were made; the last one is the winner."""
    ctx = Context(PLAIN)
    assert ctx.call.winner is None

    first = ctx.new_attempt(AttemptKind.FIRST)
    second = first.new_attempt(AttemptKind.RETRY)

    assert [(each.number, each.kind) for each in ctx.call.attempts] == [
        (1, AttemptKind.FIRST),
        (2, AttemptKind.RETRY),
    ]
    assert second.call is ctx.call
    assert ctx.call.winner is second.attempt


def test_a_new_attempt_is_blank() -> None:
    """What an attempt learnt does not show in the next one."""
    first = Context(PLAIN).new_attempt(AttemptKind.FIRST)
    assert first.attempt is not None
    first.attempt.sent = True
    first.attempt.endpoint = "a"
    first.attempt.trailers = (("x", "y"),)

    second = first.new_attempt(AttemptKind.RETRY).attempt

    assert second is not None
    assert (second.sent, second.endpoint, second.headers, second.trailers, second.code) == (False, None, (), (), None)


def test_a_correlation_id_is_made_where_none_came() -> None:
    """Two calls that nothing set off have different correlation ids."""
    one, other = Context(PLAIN), Context(PLAIN)

    assert len(one.correlation_id) == 32
    assert one.correlation_id != other.correlation_id


@pytest.mark.parametrize(("deadline", "expected"), [(None, None), (10.0, 3.0), (7.0, 0.0), (5.0, -2.0)])
def test_remaining(deadline: float | None, expected: float | None) -> None:
    """The time that remains goes below zero, and there is none without a deadline."""
    assert Context(PLAIN, deadline=deadline).remaining(7.0) == expected


def test_outgoing_keys_repeat_when_handling_repeats() -> None:
    """Handling the same key again gives the same keys in the same order, all different from each other."""

    def keys() -> list[str]:
        ctx = Context(PLAIN, key="inbound")
        return [ctx.outgoing_key("A"), ctx.outgoing_key("A"), ctx.outgoing_key("B"), ctx.outgoing_key("A", "named")]

    assert keys() == keys()
    assert len(set(keys())) == 4


def test_two_consumers_of_one_event_have_keys_of_their_own() -> None:
    """Both call the same method for the same event, and neither must be answered with the other's reply."""
    keys = set()
    for consumer in ("inventory", "notifications"):
        ctx = Context(None, key="event-1")
        ctx.call.scope = consumer
        keys.add(ctx.outgoing_key("shop.v1.Payments/Charge"))
    assert len(keys) == 2


def test_outgoing_keys_are_pinned() -> None:
    """A key does not change between versions: a call repeated across a deployment must still be recognised."""
    ctx = Context(PLAIN, key="inbound")

    assert ctx.outgoing_key("shop.v1.Payments/Charge") == "56d2111ba5731524611e2c41188570a0"
    assert ctx.outgoing_key("shop.v1.Payments/Charge", "charge") == "6bd157b88354419233a9868edff795a9"


@pytest.mark.parametrize(
    ("key", "method", "name"), [("other", "A", None), ("inbound", "B", None), ("inbound", "A", "name")]
)
def test_outgoing_keys_depend_on_each_part(key: str, method: str, name: str | None) -> None:
    """Another inbound key, another method or another name gives another key."""
    assert Context(PLAIN, key=key).outgoing_key(method, name) != Context(PLAIN, key="inbound").outgoing_key("A")


def test_a_name_takes_no_ordinal() -> None:
    """Naming a call leaves the numbering of the unnamed ones alone."""
    with_name, without = Context(PLAIN, key="k"), Context(PLAIN, key="k")
    with_name.outgoing_key("A", "named")

    assert with_name.outgoing_key("A") == without.outgoing_key("A")


def test_copies_count_together() -> None:
    """A copy of a context goes on counting where the original was, so that no key is given twice."""
    ctx = Context(PLAIN, key="k")
    first = ctx.outgoing_key("A")

    assert ctx.with_trace(_TRACE).outgoing_key("A") != first


def test_without_an_inbound_key_outgoing_keys_are_random() -> None:
    """Where nothing came in that could be repeated, each call has a key of its own."""
    ctx = Context(PLAIN)

    assert ctx.outgoing_key("A", "name") != ctx.outgoing_key("A", "name")


def test_enter_makes_current_and_restores() -> None:
    """The context is current inside the block only, also when the block raises."""
    outer, inner = Context(PLAIN), Context(PLAIN)
    assert current() is None

    with enter(outer) as entered:
        assert entered is outer
        assert current() is outer
        with pytest.raises(KeyError), enter(inner):
            raise KeyError
        assert current() is outer
    assert current() is None


async def test_tasks_inherit_the_current_context() -> None:
    """A task that a handler starts belongs to the same call, unless it is started detached."""

    async def seen() -> Context | None:
        return current()

    ctx = Context(PLAIN)
    with enter(ctx):
        inherited = asyncio.create_task(seen())
        with detached():
            background = asyncio.create_task(seen())
        assert current() is ctx

    assert await inherited is ctx
    assert await background is None


async def test_concurrent_handlers_do_not_see_each_other() -> None:
    """Each task has a current context of its own."""

    async def handle(ctx: Context) -> bool:
        with enter(ctx):
            await asyncio.sleep(0)
            return current() is ctx

    assert await asyncio.gather(*(handle(Context(PLAIN)) for _ in range(5))) == [True] * 5


def test_a_context_can_be_read() -> None:
    """It says what it is of, and nothing that may be secret."""
    ctx = Context(PLAIN, correlation_id="corr", key="secret", metadata=(("authorization", "secret"),))
    assert repr(ctx) == "<Context of test.v1.Tests/Plain, correlation id corr>"
    assert (
        repr(ctx.new_attempt(AttemptKind.FIRST)) == "<Context of test.v1.Tests/Plain, attempt 1, correlation id corr>"
    )
    assert repr(Context(None, correlation_id="corr")) == "<Context of event, correlation id corr>"


def test_calls_inside_a_block_have_a_priority_and_a_tenant() -> None:
    """What is not given stays as it was, and all is as before after the block."""
    handled = Context(None, correlation_id="corr", key="k", deadline=5.0, tenant="outer")
    with enter(handled):
        with calling(priority=Priority.SHEDDABLE) as inside:
            assert current() is inside
            assert (inside.priority, inside.tenant) == (Priority.SHEDDABLE, "outer")
            assert (inside.correlation_id, inside.key, inside.deadline) == ("corr", "k", 5.0)
            assert inside.call is handled.call
        assert current() is handled
    with calling(tenant="acme") as alone:
        assert (alone.priority, alone.tenant, alone.key) == (None, "acme", None)
    assert current() is None


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 129, "é"])
def test_a_tenant_is_an_id(tenant: str) -> None:
    """It goes out in metadata."""
    with pytest.raises(CarrickError, match="a tenant is 1 to 128 visible ASCII characters"), calling(tenant=tenant):
        pass
