import re
from typing import Any

import pytest

from carrick import (
    Attempt,
    AttemptKind,
    CarrickError,
    Code,
    Context,
    Metadata,
    MethodPolicy,
    Priority,
    RemoteError,
    Trace,
)
from carrick.allowance import RETRIES_LEFT, RetryAllowance
from carrick.rpc.metadata import PRIORITY, context_from, metadata_for, retries_left
from tests.unit.calls import KEYED, PLAIN, first_attempt, method

_TRACE = Trace("a" * 32, "b" * 16, sampled=True)
_PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def _from(*pairs: tuple[str, str | bytes]) -> Context:
    return context_from(KEYED, pairs, deadline=7.0, peer="ipv4:127.0.0.1:1")


def test_a_plain_call_carries_its_correlation_id_only() -> None:
    """What a call does not have is not sent."""
    assert metadata_for(first_attempt(PLAIN)) == (("x-correlation-id", "corr"),)


def test_everything_a_call_has_is_sent_under_its_documented_name() -> None:
    """The words on the wire are those of the table in the design."""
    ctx = Context(
        KEYED,
        correlation_id="corr",
        causation_id="cause",
        deadline=7.0,
        key="key",
        metadata=(("x-tenant", "t"), ("x-bin", b"\x00")),
        trace=Trace("a" * 32, "b" * 16, sampled=True, state="v=1"),
        priority=Priority.SHEDDABLE,
        tenant="acme",
    )
    ctx.call.allowance = RetryAllowance(2)
    ctx = ctx.new_attempt(AttemptKind.FIRST).new_attempt(AttemptKind.RETRY)

    assert metadata_for(ctx) == (
        ("x-correlation-id", "corr"),
        ("x-causation-id", "cause"),
        ("idempotency-key", "key"),
        ("traceparent", _PARENT),
        ("tracestate", "v=1"),
        ("x-carrick-attempt", "2"),
        ("x-carrick-priority", "sheddable"),
        ("x-carrick-tenant", "acme"),
        ("x-carrick-retry-budget", "2"),
        ("x-tenant", "t"),
        ("x-bin", b"\x00"),
    )


def test_what_one_side_sends_the_other_reads() -> None:
    """Ids, key and trace survive the way."""
    sent = Context(KEYED, correlation_id="corr", causation_id="cause", key="key", trace=_TRACE)
    received = _from(*metadata_for(sent))

    assert (received.correlation_id, received.causation_id, received.key, received.trace) == (
        "corr",
        "cause",
        "key",
        _TRACE,
    )


def test_a_received_call_has_the_servers_view() -> None:
    """Method, deadline, peer and all metadata are there; a call of its own, and no attempt."""
    pairs: Metadata = (("x-tenant", "t"), ("x-bin", b"\xff"))
    ctx = _from(*pairs)

    assert ctx.method is KEYED
    assert (ctx.deadline, ctx.peer, ctx.metadata, ctx.attempt) == (7.0, "ipv4:127.0.0.1:1", pairs, None)
    assert ctx.call.attempts == []


def test_a_caller_without_any_of_it_is_served() -> None:
    """A client that knows nothing of Carrick gets a new correlation id."""
    ctx = _from()

    assert len(ctx.correlation_id) == 32
    assert (ctx.key, ctx.causation_id, ctx.trace) == (None, None, None)


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "a\nb", "é", b"bytes"])
def test_bad_ids_are_replaced(value: str | bytes) -> None:
    """A correlation id that is not 1 to 128 visible characters is not passed on, nor is such a cause."""
    ctx = _from(("x-correlation-id", value), ("x-causation-id", value))

    assert ctx.correlation_id != value
    assert len(ctx.correlation_id) == 32
    assert ctx.causation_id is None


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "a\nb", "é", b"bytes"])
def test_a_bad_key_is_refused(value: str | bytes) -> None:
    """A key that cannot be kept is not replaced by another: the caller relies on it."""
    with pytest.raises(CarrickError, match="idempotency key") as caught:
        _from(("idempotency-key", value))

    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("value", ["", "nonsense", b"bytes", _PARENT.upper()])
def test_a_bad_trace_is_dropped(value: str | bytes) -> None:
    """A malformed traceparent starts no trace and does no harm."""
    assert _from(("traceparent", value)).trace is None


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("X-Tenant", "acme", "lower-case"),
        ("x tenant", "acme", "lower-case"),
        ("", "acme", "lower-case"),
        ("x-tenant", "Zoë", "visible ASCII"),
        ("x-tenant", "a\nb", "visible ASCII"),
        ("x-tenant", b"\xff", "visible ASCII"),
        ("x-tenant-bin", "acme", "are bytes"),
    ],
)
def test_what_grpc_does_not_send_is_refused(name: str, value: str | bytes, complaint: str) -> None:
    """The caller hears which name, and what it or its value must look like."""
    ctx = Context(PLAIN, metadata=(("x-good", "yes"), (name, value)))
    with pytest.raises(CarrickError, match=complaint) as caught:
        metadata_for(ctx)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert repr(name) in caught.value.message


@pytest.mark.parametrize(
    "metadata", [{"x-tenant": "acme"}, ("x-tenant", "acme"), [("x-tenant",)], (("x-number", 5),), ((5, "acme"),)]
)
def test_what_is_no_pairs_of_text_is_a_type_error(metadata: Any) -> None:
    """A mapping is told what to write instead."""
    with pytest.raises(TypeError, match=re.escape('("x-tenant", "acme")')):
        metadata_for(Context(PLAIN, metadata=metadata))


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Bearer swordfish\n"),),
        (("authorization-bin", "swordfish"),),
        (("authorization", "Bearer", "swordfish"),),
        {"authorization": "swordfish"},
    ],
)
def test_values_stay_out_of_errors(metadata: Any) -> None:
    """What is refused may be a secret."""
    with pytest.raises((CarrickError, TypeError)) as caught:
        metadata_for(Context(PLAIN, metadata=metadata))
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"), [("sheddable", Priority.SHEDDABLE), ("SHEDDABLE", None), ("", None), ("urgent", None)]
)
def test_a_priority_that_is_none_is_not_taken(value: str, expected: Priority | None) -> None:
    """Then the contract's counts, as when nothing was sent."""
    assert context_from(PLAIN, ((PRIORITY, value),), deadline=None, peer="p").priority is expected
    critical = method("Critical", policy=MethodPolicy(priority=Priority.CRITICAL))
    got = context_from(critical, ((PRIORITY, value),), deadline=None, peer="p").priority
    assert got is (expected or Priority.CRITICAL)


def test_what_the_calls_above_allow_is_read() -> None:
    """It bounds hedges too, since it comes from above; nonsense is nothing."""
    allowance = context_from(PLAIN, ((RETRIES_LEFT, "2"),), deadline=None, peer="p").call.allowance
    assert allowance is not None
    assert (allowance.left, allowance.inherited) == (2, True)
    assert context_from(PLAIN, ((RETRIES_LEFT, "-2"),), deadline=None, peer="p").call.allowance is None


def test_the_retries_left_are_told_through_causes() -> None:
    """A handler that raises its own error from that of a call still tells its caller."""
    attempt = Attempt(1, AttemptKind.FIRST)
    attempt.retries_left = 1
    below = RemoteError(Code.UNAVAILABLE, "below", attempt=attempt)
    own = CarrickError(Code.UNAVAILABLE, "mine")
    assert retries_left(own) == ()
    own.__cause__ = below
    assert retries_left(own) == ((RETRIES_LEFT, "1"),)
    own.__cause__ = own
    assert retries_left(own) == ()
