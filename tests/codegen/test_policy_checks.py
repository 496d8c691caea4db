"""Values that make no sense together."""

import dataclasses
from pathlib import Path

import pytest

from carrick import options
from carrick_codegen._parts import PARTS
from carrick_codegen._policy_checks import ORDERS
from tests.codegen.running import errors_of, text_of
from tests.codegen.test_policy import METHOD


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            'retry: {initial_backoff: "2s" max_backoff: "500ms"}',
            (
                "max_backoff (0.5 s) must not be below initial_backoff (2 s); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
        (
            'retry: {initial_backoff: "2s"}',
            (
                "max_backoff (1 s unless given) must not be below initial_backoff (2 s); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
        (
            'retry: {max_backoff: "20ms"}',
            (
                "max_backoff (0.02 s) must not be below initial_backoff (0.05 s unless given); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
        (
            'timeout: "1s" attempt_timeout: "2s"',
            (
                "timeout (1 s) must not be below attempt_timeout (2 s); "
                "write a longer timeout or a shorter attempt_timeout"
            ),
        ),
        (
            'timeout: "1s" min_remaining: "2s"',
            "timeout (1 s) must not be below min_remaining (2 s); write a longer timeout or a shorter min_remaining",
        ),
        (
            "breaker: {window_calls: 19}",
            (
                "window_calls (19) must not be below min_calls (20 unless given); "
                "write a larger window_calls or a smaller min_calls"
            ),
        ),
        (
            "concurrency: {adaptive: true limit: 4}",
            "limit (4) must not be below min_limit (5 unless given); write a larger limit or a smaller min_limit",
        ),
        (
            "concurrency: {adaptive: true max_limit: 99}",
            "max_limit (99) must not be below limit (100 unless given); write a larger max_limit or a smaller limit",
        ),
        (
            "concurrency: {adaptive: true limit: 4000000}",
            (
                "max_limit (1000 unless given) must not be below limit (4000000); "
                "write a larger max_limit or a smaller limit"
            ),
        ),
        (
            "shedding: {adaptive: true limit: 9 min_limit: 10}",
            "limit (9) must not be below min_limit (10); write a larger limit or a smaller min_limit",
        ),
        *(
            (
                f"idempotency: {{{given}}}",
                "idempotency has no key; add key: REQUIRED, or key: OPTIONAL to let calls without a key in",
            )
            for given in ("", 'expiry: "1h"', "key: KEY_UNSPECIFIED", "enabled: true")
        ),
        *(
            (
                f"fallback: {{{given}}}",
                'fallback has no last_good; add one, like last_good: "60s": values and functions are given in code',
            )
            for given in ("", "codes: [UNAVAILABLE]")
        ),
    ],
)
def test_bad_combinations(policy: str, message: str, tmp_path: Path) -> None:
    """What makes no sense together is reported at its option, with what to write instead."""
    assert errors_of(tmp_path, METHOD % policy) == [f"acme/v1/orders.proto:6:5: {message}"]


@pytest.mark.parametrize(
    "policy",
    [
        'timeout: "1s" attempt_timeout: "1s"',
        'attempt_timeout: "1h"',
        "breaker: {window_calls: 20}",
        "breaker: {min_calls: 30}",
        "concurrency: {limit: 2000 min_limit: 3000}",
        "concurrency: {adaptive: false limit: 1}",
        "concurrency: {adaptive: true limit: 7 min_limit: 7 max_limit: 7}",
        "shedding: {limit: 1}",
        'retry: {enabled: false initial_backoff: "2s"}',
        "breaker: {enabled: false window_calls: 1}",
        "concurrency: {enabled: false adaptive: true limit: 1}",
        "fallback: {enabled: false}",
        "idempotency: {enabled: false}",
    ],
)
def test_good_combinations(policy: str, tmp_path: Path) -> None:
    """Bounds themselves are good, and so is whatever a part holds that is switched off or not adaptive."""
    assert errors_of(tmp_path, METHOD % policy) == []


def test_parts_that_make_sense_only_together(tmp_path: Path) -> None:
    """Merged fields are checked together: what the service leaves open, the method may close."""
    body = """
    service Orders {
      option (carrick.v1.service).policy = {
        retry: {initial_backoff: "3s"}
        idempotency: {expiry: "1h"}
      };
      rpc Get(M) returns (M) {
        option (carrick.v1.method) = {retry: {max_backoff: "5s"} idempotency: {key: REQUIRED}};
      }
    }
    message M {}
    """
    text = text_of(tmp_path, body)
    assert "retry=RetryOptions(initial_backoff=3.0, max_backoff=5.0)" in text
    assert "idempotency=IdempotencyOptions(key=KeyRule.REQUIRED, expiry=3600.0)" in text


def test_a_backoff_that_is_too_short_is_told_where_it_stands(tmp_path: Path) -> None:
    """The shorter one is the likelier mistake when both are given."""
    body = """
    service Orders {
      rpc Get(M) returns (M) {
        option (carrick.v1.method).retry.initial_backoff = "3s";
        option (carrick.v1.method).retry.max_backoff = "2s";
      }
    }
    message M {}
    """
    (error,) = errors_of(tmp_path, body)
    assert error.startswith("acme/v1/orders.proto:7:5: max_backoff (2 s) must not be below initial_backoff (3 s)")


@pytest.mark.parametrize(
    ("far", "near"),
    [
        ('timeout: "1s"', 'attempt_timeout: "2s"'),
        ('attempt_timeout: "2s"', 'timeout: "1s"'),
        ('timeout: "3s" attempt_timeout: "2s"', 'timeout: "1s"'),
        ('timeout: "3s" attempt_timeout: "2s"', 'attempt_timeout: "4s"'),
        ("breaker: {window_calls: 30}", "breaker: {min_calls: 40}"),
        ("breaker: {min_calls: 40}", "breaker: {window_calls: 30}"),
        ("breaker: {window_calls: 50 min_calls: 40}", "breaker: {window_calls: 30}"),
        ('idempotency: {expiry: "1h"}', 'idempotency: {expiry: "2h"}'),
    ],
)
def test_of_two_levels_the_nearer_one_is_told(far: str, near: str, tmp_path: Path) -> None:
    """What the service says is good for its other methods."""
    body = f"""
    service Orders {{
      option (carrick.v1.service).policy = {{{far}}};
      rpc Get(M) returns (M) {{
        option (carrick.v1.method) = {{{near}}};
      }}
    }}
    message M {{}}
    """
    (error,) = errors_of(tmp_path, body)
    assert error.startswith("acme/v1/orders.proto:7:5: ")


def test_of_a_part_with_a_bad_value_only_that_is_told(tmp_path: Path) -> None:
    """A value that was left out for its mistake is not missed, whichever level gives it."""
    body = """
    service Orders {
      option (carrick.v1.service).policy = {fallback: {last_good: "0s"}};
      rpc Get(M) returns (M) {
        option (carrick.v1.method) = {fallback: {max_bytes: 1}};
      }
    }
    message M {}
    """
    (error,) = errors_of(tmp_path, body)
    assert error.startswith("acme/v1/orders.proto:5:3: last_good must be a time above zero")


def test_the_defaults_that_the_plugin_compares_with_are_the_runtimes() -> None:
    """What is given is compared with the default that the runtime will use for the other one."""
    for part, orders in ORDERS.items():
        defaults = {each.name: each.default for each in dataclasses.fields(getattr(options, PARTS[part].name))}
        for order in orders:
            assert (defaults[order.high], defaults[order.low]) == (order.high_default, order.low_default)
