"""The tables of options beside the runtime's classes."""

import dataclasses
from collections.abc import Callable

import pytest

from carrick import options
from carrick.errors import Code, ConfigurationError
from carrick.options import (
    BreakerOptions,
    CacheOptions,
    ConcurrencyOptions,
    FallbackOptions,
    HandlingOptions,
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
from carrick.v1 import options_pb2
from carrick_codegen._kinds import Choice
from carrick_codegen._parts import HANDLING, PARTS, POLICY
from carrick_codegen.names import RUNTIME_MODULES

IN_CODE_ONLY = {"fallback": ["value", "function"]}
"""What no contract can give."""


def test_a_policy_has_the_parts_of_the_runtime() -> None:
    """Each option and each part can be given in a contract, under the same name and in the same order."""
    assert [*POLICY.fields, *PARTS] == [field.name for field in dataclasses.fields(MethodPolicy)]
    assert {*POLICY.fields, *PARTS} == {field.name for field in options_pb2.MethodPolicy.DESCRIPTOR.fields}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_the_fields_of_the_runtime(part: str) -> None:
    """So can each of its fields."""
    runtime = dataclasses.fields(getattr(options, PARTS[part].name))
    names = [field.name for field in runtime if field.name not in IN_CODE_ONLY.get(part, ())]
    assert list(PARTS[part].fields) == names
    contract = options_pb2.MethodPolicy.DESCRIPTOR.fields_by_name[part].message_type
    assert contract is not None
    assert set(names) == {field.name for field in contract.fields}
    required = [field.name for field in runtime if field.default is dataclasses.MISSING]
    assert required == ([PARTS[part].required] if PARTS[part].required else [])


def test_handling_has_the_fields_of_the_runtime() -> None:
    """An event's contract can give all that its consumers' options have."""
    names = [field.name for field in dataclasses.fields(HandlingOptions)]
    assert list(HANDLING.fields) == names
    assert names == [field.name for field in options_pb2.HandlingPolicy.DESCRIPTOR.fields]


CHOICES = [
    kind for each in (POLICY, *PARTS.values(), HANDLING) for kind in each.fields.values() if isinstance(kind, Choice)
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.enum)
def test_a_choice_has_the_names_of_the_runtime(choice: Choice) -> None:
    """The names of an enum are those of the runtime's."""
    assert list(choice.names) == list(getattr(options, choice.enum).__members__)


def test_choices_have_the_names_of_the_contract() -> None:
    """And those of the contract's, of which one says nothing."""
    policy = options_pb2.MethodPolicy.DESCRIPTOR
    parts = [(policy.fields_by_name[part].message_type, declared) for part, declared in PARTS.items()]
    for message, declared in [(policy, POLICY), (options_pb2.HandlingPolicy.DESCRIPTOR, HANDLING), *parts]:
        assert message is not None
        for name, kind in declared.fields.items():
            if isinstance(kind, Choice):
                enum = message.fields_by_name[name].enum_type
                assert enum is not None
                assert [*enum.values_by_name] == [kind.unspecified, *kind.names]


def test_codes_are_the_statuses_of_grpc() -> None:
    """Every status but OK can be given."""
    codes = PARTS["retry"].fields["codes"]
    faults: list[str] = []
    assert codes.read([each.name for each in Code if each is not Code.OK], faults)
    assert not faults


def test_no_name_of_a_contract_hides_one_of_the_options() -> None:
    """What a policy needs is kept free in generated modules."""
    classes = {options.name for options in (POLICY, *PARTS.values(), HANDLING)}
    needed = classes | {choice.enum for choice in CHOICES} | {"Code"}
    assert {name for name in needed if RUNTIME_MODULES[name] == "carrick"} == needed


@pytest.mark.parametrize(
    "make",
    [
        lambda: MethodPolicy(timeout=0.0),
        lambda: MethodPolicy(attempt_timeout=0.0),
        lambda: MethodPolicy(deadline_margin=-1.0),
        lambda: MethodPolicy(min_remaining=0.0),
        lambda: RetryOptions(max_attempts=0),
        lambda: RetryOptions(max_attempts=101),
        lambda: RetryOptions(multiplier=0.9),
        lambda: RetryOptions(initial_backoff=2.0),
        lambda: RetryOptions(max_backoff=0.02),
        lambda: RetryOptions(codes=frozenset({Code.OK})),
        lambda: RetryBudgetOptions(ratio=-0.1),
        lambda: RetryBudgetOptions(per_second=-1.0),
        lambda: RetryBudgetOptions(window=0.0),
        lambda: HedgeOptions(delay=0.0),
        lambda: HedgeOptions(quantile=0.0),
        lambda: HedgeOptions(quantile=1.0),
        lambda: HedgeOptions(window=0.0),
        lambda: HedgeOptions(min_calls=0),
        lambda: HedgeOptions(max_hedges=0),
        lambda: HedgeOptions(max_hedges=11),
        lambda: BreakerOptions(failure_ratio=0.0),
        lambda: BreakerOptions(failure_ratio=1.1),
        lambda: BreakerOptions(slow_after=0.0),
        lambda: BreakerOptions(slow_ratio=0.0),
        lambda: BreakerOptions(window_calls=19),
        lambda: BreakerOptions(window_calls=10_001),
        lambda: BreakerOptions(min_calls=0),
        lambda: BreakerOptions(trials=0),
        lambda: BreakerOptions(window=0.0),
        lambda: BreakerOptions(open_for=0.0),
        lambda: ConcurrencyOptions(limit=0),
        lambda: ConcurrencyOptions(adaptive=True, min_limit=0),
        lambda: ConcurrencyOptions(adaptive=True, limit=4),
        lambda: ConcurrencyOptions(adaptive=True, max_limit=99),
        lambda: ThrottleOptions(multiplier=0.9),
        lambda: ThrottleOptions(window=0.0),
        lambda: CacheOptions(ttl=-1.0),
        lambda: CacheOptions(stale_if_error=-1.0),
        lambda: FallbackOptions(),
        lambda: FallbackOptions(last_good=0.0),
        lambda: FallbackOptions(last_good=1.0, codes=frozenset({Code.OK})),
        lambda: SheddingOptions(limit=0),
        lambda: SheddingOptions(adaptive=True, limit=4),
        lambda: SheddingOptions(max_queue_time=0.0),
        lambda: SheddingOptions(max_loop_lag=0.0),
        lambda: RateLimitOptions(per_second=0.0),
        lambda: RateLimitOptions(burst=0),
        lambda: RateLimitOptions(max_keys=0),
        lambda: IdempotencyOptions(key=KeyRule.REQUIRED, expiry=0.0),
        lambda: IdempotencyOptions(key=KeyRule.REQUIRED, replayed_errors=frozenset({Code.OK})),
        lambda: HandlingOptions(max_attempts=0),
        lambda: HandlingOptions(max_attempts=1001),
        lambda: HandlingOptions(timeout=0.0),
        lambda: HandlingOptions(initial_backoff=0.0),
        lambda: HandlingOptions(max_backoff=0.0),
        lambda: HandlingOptions(initial_backoff=31.0),
        lambda: HandlingOptions(max_backoff=0.05),
    ],
)
def test_the_runtime_refuses_the_same(make: Callable[[], object]) -> None:
    """What the plugin refuses in a contract, the runtime refuses in code."""
    with pytest.raises(ConfigurationError):
        make()
