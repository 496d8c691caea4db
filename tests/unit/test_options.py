import dataclasses
import math
from collections.abc import Callable

import pytest

from carrick import (
    BreakerOptions,
    Code,
    ConfigurationError,
    IdempotencyOptions,
    KeyRule,
    MethodPolicy,
    RetryOptions,
)
from carrick.options import override_for
from tests.unit.calls import KEYED, PLAIN

_TIME = "must be a number of seconds above 0"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryOptions(max_attempts=0), "max_attempts must be 1 to 100, not 0; 1 turns retries off"),
        (lambda: RetryOptions(max_attempts=101), "max_attempts must be 1 to 100, not 101"),
        (lambda: RetryOptions(replay_bytes=-1), "replay_bytes must be 0 or more, not -1"),
        (lambda: RetryOptions(initial_backoff=0), f"initial_backoff {_TIME}, not 0; write for example"),
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
        (lambda: IdempotencyOptions(key=KeyRule.REQUIRED, expiry=0), f"expiry {_TIME}"),
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
