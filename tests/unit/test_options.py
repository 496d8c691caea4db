import dataclasses
import math
from collections.abc import Callable

import pytest

from carrick import (
    BreakerOptions,
    CacheOptions,
    Code,
    ConcurrencyOptions,
    ConfigurationError,
    FallbackOptions,
    HedgeOptions,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    RateLimitOptions,
    RetryBudgetOptions,
    RetryOptions,
    SheddingOptions,
    ThrottleOptions,
)
from carrick.options import Part, override_for
from tests.unit.calls import KEYED, PLAIN

_TIME = "must be a number of seconds above 0"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryOptions(max_attempts=0), "max_attempts must be 1 to 100, not 0; 1 turns retries off"),
        (lambda: RetryOptions(max_attempts=101), "max_attempts must be 1 to 100, not 101"),
        (lambda: RetryOptions(replay_bytes=-1), "replay_bytes must be 0 or more, not -1"),
        (lambda: RetryOptions(initial_backoff=0), f"initial_backoff {_TIME}, not 0; write for example"),
        (lambda: RetryOptions(max_backoff="1s"), f"max_backoff {_TIME}, not '1s'"),  # type: ignore[arg-type]
        (lambda: RetryOptions(max_backoff=-1.0), f"max_backoff {_TIME}, not -1.0"),
        (lambda: RetryOptions(initial_backoff=math.nan), f"initial_backoff {_TIME}, not nan"),
        (lambda: RetryOptions(max_backoff=math.inf), f"max_backoff {_TIME}, not inf"),
        (
            lambda: RetryOptions(initial_backoff=2.0, max_backoff=1.0),
            r"max_backoff \(1.0\) must not be below initial_backoff \(2.0\)",
        ),
        (lambda: RetryOptions(multiplier=0.9), "multiplier must be 1 or more, not 0.9"),
        (lambda: RetryOptions(multiplier=math.nan), "multiplier must be 1 or more, not nan"),
        (lambda: RetryOptions(codes=frozenset({Code.OK})), "codes must not hold OK"),
        (lambda: BreakerOptions(failure_ratio=0), "failure_ratio must be above 0 and at most 1, not 0"),
        (lambda: BreakerOptions(failure_ratio=1.1), "failure_ratio must be above 0 and at most 1, not 1.1"),
        (lambda: BreakerOptions(failure_ratio=math.nan), "failure_ratio must be above 0 and at most 1, not nan"),
        (lambda: BreakerOptions(window=0), f"window {_TIME}"),
        (lambda: BreakerOptions(min_calls=0), "min_calls must be 1 or more, not 0"),
        (lambda: BreakerOptions(open_for=0), f"open_for {_TIME}"),
        (lambda: BreakerOptions(trials=0), "trials must be 1 or more, not 0"),
        (lambda: BreakerOptions(slow_after=0), f"slow_after {_TIME}"),
        (lambda: BreakerOptions(slow_ratio=2), "slow_ratio must be above 0 and at most 1, not 2"),
        (lambda: BreakerOptions(window_calls=19), r"window_calls must be from min_calls \(20\) to 10000, not 19"),
        (lambda: BreakerOptions(window_calls=10_001), "window_calls must be from min_calls"),
        (lambda: RetryBudgetOptions(ratio=-0.1), "ratio must be 0 or more, not -0.1"),
        (lambda: RetryBudgetOptions(ratio=math.inf), "ratio must be 0 or more, not inf"),
        (lambda: RetryBudgetOptions(per_second=math.nan), "per_second must be 0 or more, not nan"),
        (lambda: RetryBudgetOptions(window=0), f"window {_TIME}"),
        (lambda: HedgeOptions(delay=0), f"delay {_TIME}"),
        (lambda: HedgeOptions(quantile=1), "quantile must be between 0 and 1, not 1"),
        (lambda: HedgeOptions(window=math.inf), f"window {_TIME}"),
        (lambda: HedgeOptions(min_calls=0), "min_calls must be 1 or more, not 0"),
        (lambda: HedgeOptions(max_hedges=0), "max_hedges must be 1 to 10, not 0"),
        (lambda: HedgeOptions(max_hedges=11), "max_hedges must be 1 to 10, not 11"),
        (lambda: ConcurrencyOptions(limit=0), "limit must be 1 or more, not 0"),
        (lambda: ConcurrencyOptions(max_queued=-1), "max_queued must be 0 or more, not -1; 0 lets nothing wait"),
        (
            lambda: ConcurrencyOptions(adaptive=True, limit=4),
            "an adaptive limit needs 1 <= min_limit <= limit <= max_limit, not 5, 4, 1000",
        ),
        (lambda: ThrottleOptions(multiplier=0.9), "multiplier must be 1 or more, not 0.9"),
        (lambda: ThrottleOptions(multiplier=math.inf), "multiplier must be 1 or more, not inf"),
        (lambda: ThrottleOptions(window=-1), f"window {_TIME}"),
        (lambda: CacheOptions(ttl=-1), "ttl must be a number of seconds from 0 up, not -1"),
        (lambda: CacheOptions(max_bytes=-1), "max_bytes must be 0 or more, not -1"),
        (lambda: CacheOptions(stale_if_error=math.nan), "stale_if_error must be a number of seconds from 0 up"),
        (lambda: FallbackOptions(), "a fallback needs a value, a function or last_good"),
        (lambda: FallbackOptions(value=1, function=max), "a fallback has a value or a function, not both"),
        (lambda: FallbackOptions(last_good=0), f"last_good {_TIME}"),
        (lambda: FallbackOptions(last_good=1, max_bytes=-1), "max_bytes must be 0 or more, not -1"),
        (lambda: FallbackOptions(value=1, codes=frozenset({Code.OK})), "codes must not hold OK"),
        (lambda: SheddingOptions(limit=0), "limit must be 1 or more, not 0"),
        (lambda: SheddingOptions(max_queue_time=0), f"max_queue_time {_TIME}"),
        (lambda: SheddingOptions(max_loop_lag=0), f"max_loop_lag {_TIME}"),
        (
            lambda: SheddingOptions(adaptive=True, limit=4),
            "an adaptive limit needs 1 <= min_limit <= limit, not 5, 4",
        ),
        (lambda: RateLimitOptions(per_second=0), "per_second must be a number above 0, not 0"),
        (lambda: RateLimitOptions(burst=0), "burst must be 1 or more, not 0"),
        (lambda: RateLimitOptions(max_keys=0), "max_keys must be 1 or more, not 0"),
        (lambda: IdempotencyOptions(key=KeyRule.REQUIRED, expiry=0), f"expiry {_TIME}"),
        (
            lambda: IdempotencyOptions(key=KeyRule.REQUIRED, replayed_errors=frozenset({Code.OK})),
            "replayed_errors must not hold OK",
        ),
        (lambda: MethodPolicy(attempt_timeout=0), f"attempt_timeout {_TIME}"),
        (lambda: MethodPolicy(min_remaining=-1), f"min_remaining {_TIME}"),
        (lambda: MethodPolicy(deadline_margin=-1), "deadline_margin must be a number of seconds from 0 up, not -1"),
        (lambda: MethodPolicy(timeout=0), f"timeout {_TIME}"),
        (lambda: MethodPolicy(timeout=math.inf), f"timeout {_TIME}, not inf"),
    ],
)
def test_a_bound_is_refused_with_what_to_write_instead(make: Callable[[], object], message: str) -> None:
    """Each option names itself, its bounds and the value that it got."""
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryOptions(max_attempts=1),
        lambda: RetryOptions(max_attempts=100, multiplier=1),
        lambda: RetryOptions(initial_backoff=1.0, max_backoff=1.0),
        lambda: RetryOptions(codes=frozenset()),
        lambda: BreakerOptions(failure_ratio=1, min_calls=1, trials=1),
        lambda: MethodPolicy(),
    ],
)
def test_bounds_themselves_are_allowed(make: Callable[[], object]) -> None:
    """The smallest and largest values of each option are good."""
    make()


@pytest.mark.parametrize("options", [RetryOptions(), BreakerOptions(), MethodPolicy()])
def test_options_are_frozen(options: RetryOptions | BreakerOptions | MethodPolicy) -> None:
    """Options do not change under a stack that was built from them."""
    name = dataclasses.fields(options)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options, name, 1)


def test_a_policy_is_overridden_part_by_part() -> None:
    """What the other policy gives replaces, what it does not give stays."""
    retry, breaker, key = RetryOptions(), BreakerOptions(), IdempotencyOptions(key=KeyRule.OPTIONAL)
    contract = MethodPolicy(timeout=1.0, retry=retry, breaker=breaker, idempotency=key)
    other = RetryOptions(max_attempts=2)

    assert contract.overridden_by(None) is contract
    assert contract.overridden_by(MethodPolicy()) == contract
    assert contract.overridden_by(MethodPolicy(timeout=2.0, retry=other)) == MethodPolicy(
        timeout=2.0, retry=other, breaker=breaker, idempotency=key
    )
    assert MethodPolicy().overridden_by(contract) == contract


@pytest.mark.parametrize(
    "part",
    [
        RetryOptions(),
        RetryBudgetOptions(),
        HedgeOptions(),
        BreakerOptions(),
        ConcurrencyOptions(),
        ThrottleOptions(),
        CacheOptions(),
        FallbackOptions(last_good=1.0),
        SheddingOptions(),
        RateLimitOptions(),
        IdempotencyOptions(key=KeyRule.REQUIRED),
    ],
)
def test_every_part_can_be_switched_off(part: Part) -> None:
    """A part that is off is false, so that no stack has it."""
    assert part
    assert not dataclasses.replace(part, enabled=False)


def test_one_attempt_is_no_retry() -> None:
    """Then nothing needs to be in the stack."""
    assert not RetryOptions(max_attempts=1)


def test_an_override_is_for_all_methods_or_for_some() -> None:
    """A mapping has a policy for its own methods only; nothing is nothing."""
    policy = MethodPolicy(timeout=1.0)

    assert override_for(None, PLAIN) is None
    assert override_for(policy, PLAIN) is policy
    assert override_for({PLAIN: policy}, PLAIN) is policy
    assert override_for({PLAIN: policy}, KEYED) is None


@pytest.mark.parametrize("key", ["test.v1.Tests/Plain", None, type(PLAIN)])
def test_an_override_for_what_is_no_method_is_refused(key: object) -> None:
    """It would hold for nothing, and nobody would notice."""
    with pytest.raises(ConfigurationError, match=r"a policy is given for .*, which is no method; give it for the"):
        override_for({PLAIN: MethodPolicy(), key: MethodPolicy()}, KEYED)


def test_an_override_that_is_no_policy_is_refused() -> None:
    """One part alone is not a policy."""
    with pytest.raises(ConfigurationError, match=r"must be a MethodPolicy, or a mapping .*, not a RetryOptions; write"):
        override_for(RetryOptions(), PLAIN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [
        MethodPolicy(shedding=SheddingOptions()),
        MethodPolicy(rate_limit=RateLimitOptions()),
        MethodPolicy(idempotency=IdempotencyOptions(key=KeyRule.REQUIRED)),
    ],
)
def test_an_override_with_a_part_of_the_server_is_refused(policy: MethodPolicy) -> None:
    """A client would do nothing with it, whether it is given for all methods or for one."""
    for override in (policy, {KEYED: policy}):
        with pytest.raises(
            ConfigurationError, match=r"is the server's, .* does nothing with it; give it in the contract"
        ):
            override_for(override, PLAIN)
