"""Token buckets, and the filter around them."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick import Code, Context, RateKey, RateLimitOptions, RejectedError
from carrick.observe import RateLimited
from carrick.policy.pushback import pushback
from carrick.policy.rate_limit import RateLimitState, caller, rate_limit
from carrick.service import stack
from carrick.testing import FakeClock
from tests.unit.calls import PLAIN, REPLY, REQUEST, Scripted, Seen


def state(per_second: float = 10.0, burst: int = 3, max_keys: int = 10) -> RateLimitState:
    """Return buckets of ``burst`` tokens, ``per_second`` of which come back."""
    return RateLimitState(RateLimitOptions(per_second=per_second, burst=burst, max_keys=max_keys))


def taken(limit: RateLimitState, now: float, key: str = "") -> int:
    """Call until refused; return how many calls went through."""
    count = 0
    while limit.acquire(now, key) == 0.0:
        count += 1
    return count


def test_a_burst_and_then_the_rate() -> None:
    """After a quiet time so many calls at once, then one an interval, and the wait until it."""
    limit = state()
    assert taken(limit, 100.0) == 3
    assert limit.acquire(100.0, "") == pytest.approx(0.1)
    assert limit.acquire(100.04, "") == pytest.approx(0.06)
    assert taken(limit, 100.1) == 1
    assert taken(limit, 100.3) == 2
    assert taken(limit, 1000.0) == 3


def test_refused_calls_cost_nothing() -> None:
    """Who keeps asking is not kept out for longer."""
    limit = state()
    taken(limit, 100.0)
    for _ in range(1000):
        assert limit.acquire(100.05, "") == pytest.approx(0.05)
    assert limit.acquire(100.1, "") == 0.0


def test_a_burst_of_one() -> None:
    """Is an even rate."""
    limit = state(burst=1)
    assert [limit.acquire(100.0 + tenth / 10, "") for tenth in range(50)] == [0.0] * 50
    assert limit.acquire(104.95, "") == pytest.approx(0.05)


def test_keys_are_counted_apart() -> None:
    """What one used up is there for another."""
    limit = state()
    assert [taken(limit, 100.0, key) for key in "abc"] == [3, 3, 3]


def test_keys_that_owe_nothing_are_forgotten_first() -> None:
    """Many keys one after the other need no more room than is given, and a debtor among them stays known."""
    limit = state(per_second=1.0, burst=3, max_keys=5)
    assert taken(limit, 100.0, "debtor") == 3
    for number in range(50):
        limit.acquire(100.0 + number / 100, f"passing {number}")
        assert len(limit) <= 5
    assert limit.acquire(100.5, "debtor") == pytest.approx(0.5)


def test_a_flood_of_new_keys_does_not_wipe_out_a_debt() -> None:
    """New keys with a call each push each other out, not the key that owes more than they do."""
    limit = state(per_second=1.0, burst=10, max_keys=5)
    assert taken(limit, 100.0, "debtor") == 10
    for number in range(10_000):
        assert limit.acquire(100.0, f"flood {number}") == 0.0
    assert len(limit) == 5
    assert limit.acquire(100.0, "debtor") == pytest.approx(1.0)


def test_a_debt_is_forgotten_only_when_all_others_owe_as_much() -> None:
    """So to wipe out a debt of n calls takes n calls of each of ``max_keys`` others."""
    limit = state(per_second=1.0, burst=10, max_keys=5)
    assert [limit.acquire(100.0, "debtor") for _ in range(4)] == [0.0] * 4
    calls = 0
    while limit.acquire(100.0, "debtor") == 0.0:  # its burst is used up then
        calls += 1
    assert calls == 6
    for number in range(5):
        for _ in range(10):
            limit.acquire(100.1, f"flood {number}")
            calls += 1
    assert taken(limit, 100.1, "debtor") == 10  # it is as good as new: it paid 50 calls for 10


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([0.0, 0.0, 0.25, 1.0, 5.0])), max_size=150),
    st.integers(1, 4),
)
def test_against_buckets_that_fill_drop_by_drop(calls: list[tuple[str, float]], max_keys: int) -> None:
    """Each key gets its burst and its rate, and where there are too many, the one that owes least is forgotten."""
    limit = state(per_second=2.0, burst=3, max_keys=max_keys)
    missing: dict[str, float] = {}  # tokens that each bucket lacks, as if it could be more than full
    now = 100.0
    for key, passed in calls:
        now += passed
        missing = {each: lacks - passed * 2.0 for each, lacks in missing.items()}
        if key not in missing and len(missing) == max_keys:
            del missing[min((lacks, each) for each, lacks in missing.items())[1]]
        lacks = max(0.0, missing.get(key, 0.0))
        assert (limit.acquire(now, key) == 0.0) is (lacks <= 2.0)
        if lacks <= 2.0:
            missing[key] = lacks + 1.0
        assert len(limit) == len(missing)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:50051", "ipv4:10.1.2.3"),
        ("ipv6:%5B::1%5D:50051", "ipv6:%5B::1%5D"),
        ("ipv6:[2001:db8::7]:443", "ipv6:[2001:db8::7]"),
        ("unix:/run/shop.sock", "unix:/run/shop.sock"),
        (None, ""),
    ],
)
def test_a_caller_is_an_address_without_its_port(peer: str | None, address: str) -> None:
    """So a caller's connections are counted together."""
    assert caller(peer) == address


def contexts(by: RateKey) -> tuple[Context, Context, Context]:
    """Return two contexts that are counted together and one that is not, unless all are."""
    if by is RateKey.TENANT:
        return Context(PLAIN, tenant="a", peer="1"), Context(PLAIN, tenant="a", peer="2"), Context(PLAIN, tenant="b")
    return (
        Context(PLAIN, peer="ipv4:10.0.0.1:1000", tenant="a"),
        Context(PLAIN, peer="ipv4:10.0.0.1:2000", tenant="b"),
        Context(PLAIN, peer="ipv4:10.0.0.2:1000", tenant="a"),
    )


@pytest.mark.parametrize("by", RateKey)
async def test_calls_are_counted_by_method_caller_or_tenant(by: RateKey) -> None:
    """One that comes too soon is refused, and told when to come back."""
    clock, seen, service = FakeClock(), Seen(), Scripted()
    options = RateLimitOptions(per_second=4.0, burst=1, by=by)
    call = stack(service, rate_limit(options, RateLimitState(options), clock=clock, observe=seen))
    first, second, other = contexts(by)
    assert await call(REQUEST, first) == REPLY
    with pytest.raises(RejectedError, match=f"4 calls a second for each {by.value}; try again in 0.25 s") as caught:
        await call(REQUEST, second)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.details[0] == ErrorInfo(reason="RATE_LIMITED", domain="carrick", metadata={"by": by.value})
    assert pushback(second.call.trailers) == 0.25
    assert seen.observations == [RateLimited(method=PLAIN.full_name, by=by.value)]
    if by is RateKey.METHOD:
        with pytest.raises(RejectedError):
            await call(REQUEST, other)
    else:
        assert await call(REQUEST, other) == REPLY
    clock.advance(0.25)
    assert await call(REQUEST, second) == REPLY


async def test_calls_that_name_no_tenant_are_counted_together() -> None:
    """Leaving the name out is no way around."""
    clock = FakeClock()
    options = RateLimitOptions(per_second=1.0, burst=1, by=RateKey.TENANT)
    call = stack(Scripted(), rate_limit(options, RateLimitState(options), clock=clock, observe=Seen()))
    await call(REQUEST, Context(PLAIN))
    with pytest.raises(RejectedError):
        await call(REQUEST, Context(PLAIN))
