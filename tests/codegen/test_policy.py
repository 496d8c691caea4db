"""Policies: what is wrong with a value, where that is reported, and how levels are merged."""

import re
from pathlib import Path

import pytest

from tests.codegen.running import errors_of, text_of

METHOD = """
service Orders {
  rpc Get(M) returns (M) {
    option (carrick.v1.method) = {%s};
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}
message M {}
"""

NOT_A_DURATION = "must be a number with a unit (ms, s, m or h) and nothing between, not"


TIMES = [
    ("timeout", "{}"),
    ("attempt_timeout", "{}"),
    ("min_remaining", "{}"),
    ("initial_backoff", "retry: {{{}}}"),
    ("max_backoff", "retry: {{{}}}"),
    ("window", "retry_budget: {{{}}}"),
    ("delay", "hedge: {{{}}}"),
    ("window", "hedge: {{{}}}"),
    ("slow_after", "breaker: {{{}}}"),
    ("window", "breaker: {{{}}}"),
    ("open_for", "breaker: {{{}}}"),
    ("window", "throttle: {{{}}}"),
    ("last_good", "fallback: {{{}}}"),
    ("max_queue_time", "shedding: {{{}}}"),
    ("max_loop_lag", "shedding: {{{}}}"),
    ("expiry", "idempotency: {{key: REQUIRED {}}}"),
]
OR_NONE = [
    ("deadline_margin", "{}"),
    ("ttl", "cache: {{{}}}"),
    ("stale_if_error", "cache: {{{}}}"),
]
"""Times that may be none at all."""


@pytest.mark.parametrize(("name", "policy"), [*TIMES, *OR_NONE])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2 s", f'{NOT_A_DURATION} "2 s"; write for example "2s"'),
        ("2", f'{NOT_A_DURATION} "2"; write for example "2s"'),
        ("abc", f'{NOT_A_DURATION} "abc"; write for example "2s"'),
    ],
)
def test_bad_durations(name: str, policy: str, value: str, message: str, tmp_path: Path) -> None:
    """Every duration of a policy is checked."""
    body = METHOD % policy.format(f'{name}: "{value}"')
    assert errors_of(tmp_path, body) == [f"acme/v1/orders.proto:6:5: {name} {message}"]


@pytest.mark.parametrize(
    ("name", "policy", "value", "words"),
    [
        *((*each, value, "above zero") for each in TIMES for value in ("0s", "-1s")),
        *((*each, "-1s", "from zero up") for each in OR_NONE),
    ],
)
def test_times_that_are_none(name: str, policy: str, value: str, words: str, tmp_path: Path) -> None:
    """Only where none at all makes sense may a time be zero; no time is below."""
    body = METHOD % policy.format(f'{name}: "{value}"')
    message = f'{name} must be a time {words}, not "{value}"; write for example "2s"'
    assert errors_of(tmp_path, body) == [f"acme/v1/orders.proto:6:5: {message}"]


@pytest.mark.parametrize(("name", "policy"), OR_NONE)
@pytest.mark.parametrize("value", ["0s", "-0ms"])
def test_times_that_may_be_none(name: str, policy: str, value: str, tmp_path: Path) -> None:
    """No margin, and a cache that only shares what is under way, are of use."""
    assert f"{name}=0.0" in text_of(tmp_path, METHOD % policy.format(f'{name}: "{value}"'))


_RATIO = "must be above 0 and at most 1 (0.5 means half of the calls), not"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("retry: {max_attempts: 0}", "max_attempts must be 1 to 100 (1 turns retries off), not 0"),
        ("retry: {max_attempts: 101}", "max_attempts must be 1 to 100 (1 turns retries off), not 101"),
        ("retry: {multiplier: 0.9}", "multiplier must be 1 or more (2 doubles the wait each time), not 0.9"),
        ("retry: {multiplier: nan}", "multiplier must be 1 or more (2 doubles the wait each time), not nan"),
        ("retry: {multiplier: inf}", "multiplier must be 1 or more (2 doubles the wait each time), not inf"),
        (
            "retry: {codes: [UNAVAILABLE, OK]}",
            "codes must not hold OK: a success is not tried again; take OK out",
        ),
        ("retry: {codes: [99]}", "codes holds 99, which is no status of gRPC; write a name like UNAVAILABLE"),
        ("retry_budget: {ratio: -0.1}", "ratio must be 0 or more (0.2 means one retry for five calls), not -0.1"),
        ("retry_budget: {ratio: inf}", "ratio must be 0 or more (0.2 means one retry for five calls), not inf"),
        ("retry_budget: {per_second: -1}", "per_second must be 0 or more, not -1.0"),
        ("retry_budget: {per_second: nan}", "per_second must be 0 or more, not nan"),
        ("hedge: {quantile: 0}", "quantile must be between 0 and 1 (0.95 makes one call in twenty late), not 0.0"),
        ("hedge: {quantile: 1}", "quantile must be between 0 and 1 (0.95 makes one call in twenty late), not 1.0"),
        ("hedge: {min_calls: 0}", "min_calls must be 1 or more, not 0"),
        ("hedge: {max_hedges: 0}", "max_hedges must be 1 to 10, not 0"),
        ("hedge: {max_hedges: 11}", "max_hedges must be 1 to 10, not 11"),
        ("breaker: {failure_ratio: 0}", f"failure_ratio {_RATIO} 0.0"),
        ("breaker: {failure_ratio: 50}", f"failure_ratio {_RATIO} 50.0"),
        ("breaker: {slow_ratio: 0}", f"slow_ratio {_RATIO} 0.0"),
        ("breaker: {slow_ratio: nan}", f"slow_ratio {_RATIO} nan"),
        ("breaker: {window_calls: 0}", "window_calls must be 1 to 10000, not 0"),
        ("breaker: {window_calls: 10001}", "window_calls must be 1 to 10000, not 10001"),
        ("breaker: {min_calls: 0}", "min_calls must be 1 or more, not 0"),
        ("breaker: {trials: 0}", "trials must be 1 or more, not 0"),
        ("concurrency: {limit: 0}", "limit must be 1 or more, not 0"),
        ("concurrency: {min_limit: 0}", "min_limit must be 1 or more, not 0"),
        ("concurrency: {max_limit: 0}", "max_limit must be 1 or more, not 0"),
        ("throttle: {multiplier: 0.5}", "multiplier must be 1 or more (2 is usual), not 0.5"),
        ("throttle: {multiplier: inf}", "multiplier must be 1 or more (2 is usual), not inf"),
        (
            'fallback: {last_good: "1m" codes: OK}',
            "codes must not hold OK: a success needs no substitute; take OK out",
        ),
        ("shedding: {limit: 0}", "limit must be 1 or more, not 0"),
        ("shedding: {min_limit: 0}", "min_limit must be 1 or more, not 0"),
        (
            "rate_limit: {per_second: 0}",
            "per_second must be a number above 0 (0.1 is one call in ten seconds), not 0.0",
        ),
        (
            "rate_limit: {per_second: inf}",
            "per_second must be a number above 0 (0.1 is one call in ten seconds), not inf",
        ),
        ("rate_limit: {burst: 0}", "burst must be 1 or more, not 0"),
        ("rate_limit: {max_keys: 0}", "max_keys must be 1 or more, not 0"),
        ("rate_limit: {by: 9}", "by must be METHOD, CALLER or TENANT, not 9"),
        ("priority: 9", "priority must be CRITICAL, DEFAULT or SHEDDABLE, not 9"),
        ("idempotency: {key: 9}", "key must be OPTIONAL or REQUIRED, not 9"),
        (
            "idempotency: {key: REQUIRED replayed_errors: [OK]}",
            "replayed_errors must not hold OK: replies are always kept; take OK out",
        ),
    ],
)
def test_bad_values(policy: str, message: str, tmp_path: Path) -> None:
    """Each value that makes no sense is reported at its option, with what to write instead."""
    assert errors_of(tmp_path, METHOD % policy) == [f"acme/v1/orders.proto:6:5: {message}"]


def test_all_that_is_wrong_with_a_list_is_told(tmp_path: Path) -> None:
    """Each mistake has its own line."""
    found = errors_of(tmp_path, METHOD % "retry: {codes: [98, OK, 99]}")
    assert [error.partition(" codes ")[2][:13] for error in found] == [
        "holds 98, whi",
        "holds 99, whi",
        "must not hold",
    ]


def test_a_value_is_checked_in_a_part_that_is_switched_off(tmp_path: Path) -> None:
    """It would make no sense for the method that switches the part on."""
    (error,) = errors_of(tmp_path, METHOD % "breaker: {enabled: false trials: 0}")
    assert error == "acme/v1/orders.proto:6:5: trials must be 1 or more, not 0"


def test_what_is_unspecified_is_not_given(tmp_path: Path) -> None:
    """The first value of an enum leaves the choice to the level around."""
    body = """
    option (carrick.v1.file).policy = {priority: SHEDDABLE rate_limit: {by: TENANT} idempotency: {key: OPTIONAL}};
    service Orders {
      rpc Get(M) returns (M) {
        option (carrick.v1.method) = {
          priority: PRIORITY_UNSPECIFIED rate_limit: {by: BY_UNSPECIFIED} idempotency: {key: KEY_UNSPECIFIED}
        };
      }
      rpc List(M) returns (M) {
        option (carrick.v1.method) = {priority: CRITICAL rate_limit: {by: CALLER} idempotency: {key: REQUIRED}};
      }
    }
    message M {}
    """
    text = text_of(tmp_path, body)
    assert re.findall(r"Priority\.\w+|RateKey\.\w+|KeyRule\.\w+", text) == [
        *("Priority.SHEDDABLE", "RateKey.TENANT", "KeyRule.OPTIONAL"),
        *("Priority.CRITICAL", "RateKey.CALLER", "KeyRule.REQUIRED"),
    ]


def test_retry_without_a_promise_of_idempotency_is_no_error(tmp_path: Path) -> None:
    """Such a method is retried only when the call was certainly never executed, which is of use."""
    body = (
        "service Orders { rpc Get(M) returns (M) { option (carrick.v1.method).retry.max_attempts = 2; } } message M {}"
    )
    assert errors_of(tmp_path, body) == []


def test_an_inherited_mistake_is_told_once_where_it_was_made(tmp_path: Path) -> None:
    """A wrong value of a file or a service is reported there, however many methods inherit it."""
    body = """
    option (carrick.v1.file).policy.retry = {initial_backoff: "3s"};
    service Orders {
      option (carrick.v1.service).policy = {
        idempotency: {expiry: "1h"}
        timeout: "2 s"
      };
      rpc Get(M) returns (M);
      rpc List(M) returns (M);
      rpc Find(M) returns (M);
    }
    message M {}
    """
    found = errors_of(tmp_path, body)
    assert [error.partition(";")[0] for error in found] == [
        "acme/v1/orders.proto:4:1: max_backoff (1 s unless given) must not be below initial_backoff (3 s)",
        "acme/v1/orders.proto:6:3: idempotency has no key",
        f'acme/v1/orders.proto:6:3: timeout {NOT_A_DURATION} "2 s"',
    ]


def test_a_mistake_in_a_policy_that_nobody_inherits_is_told(tmp_path: Path) -> None:
    """A file's policy is checked also when the file has no services."""
    assert errors_of(tmp_path, 'option (carrick.v1.file).policy.timeout = "0s";\nmessage M {}') == [
        'acme/v1/orders.proto:4:1: timeout must be a time above zero, not "0s"; write for example "2s"'
    ]


def test_each_level_wins_over_the_one_around_it(tmp_path: Path) -> None:
    """A method's value over its service's, and that over its file's; what one leaves out is the next one's."""
    body = """
    option (carrick.v1.file).policy = {timeout: "1s" retry: {max_attempts: 2 multiplier: 3} breaker: {trials: 4}};
    service Orders {
      option (carrick.v1.service).policy = {timeout: "5s" retry: {max_attempts: 6}};
      rpc Get(M) returns (M);
      rpc List(M) returns (M) {
        option (carrick.v1.method).timeout = "7s";
      }
    }
    message M {}
    """
    text = text_of(tmp_path, body)
    assert re.findall(r"timeout=(.*),", text)[:2] == ["5.0", "7.0"]
    assert text.count("retry=RetryOptions(max_attempts=6, multiplier=3.0)") == 2
    assert text.count("breaker=BreakerOptions(trials=4)") == 2


def test_a_part_is_taken_away_and_given_back(tmp_path: Path) -> None:
    """Of a part that is switched off nothing else is generated; switched on again, it has what it inherits."""
    body = """
    option (carrick.v1.file).policy = {retry: {max_attempts: 2} idempotency: {key: REQUIRED}};
    service Orders {
      option (carrick.v1.service).policy = {retry: {enabled: false} idempotency: {enabled: false}};
      rpc Get(M) returns (M);
      rpc List(M) returns (stream M) {
        option (carrick.v1.method) = {retry: {enabled: true}};
      }
    }
    message M {}
    """
    text = text_of(tmp_path, body)
    assert re.findall(r"retry=(\w+\(.*?\))", text) == [
        "RetryOptions(enabled=False)",
        "RetryOptions(enabled=True, max_attempts=2)",
    ]
    assert "idempotency" not in text
    assert "KeyRule" not in text
    assert "key: str" not in text


EVERYWHERE = """
option (carrick.v1.file) = {%(FileOptions)s};
service Orders {
  option (carrick.v1.service) = {%(ServiceOptions)s};
  rpc Get(M) returns (M) {
    option (carrick.v1.method) = {
      retry: {%(RetryPolicy)s} retry_budget: {%(RetryBudgetPolicy)s} hedge: {%(HedgePolicy)s}
      breaker: {%(BreakerPolicy)s} concurrency: {%(ConcurrencyPolicy)s} throttle: {%(ThrottlePolicy)s}
      cache: {%(CachePolicy)s} fallback: {last_good: "1m" %(FallbackPolicy)s} shedding: {%(SheddingPolicy)s}
      rate_limit: {%(RateLimitPolicy)s} idempotency: {key: REQUIRED %(IdempotencyPolicy)s}
      %(MethodPolicy)s
    };
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}
message M {
  option (carrick.v1.event) = {
    subject: "orders.placed.v1" key: "id" handling: {%(HandlingPolicy)s} %(EventPolicy)s
  };
  string id = 1;
}
"""
"""A place for a field of each message of options."""

OPTION_MESSAGES = re.findall(r"%\((\w+)\)", EVERYWHERE)
OPTIONS = (Path(__file__).parents[2] / "proto" / "carrick" / "v1" / "options.proto").read_text("utf-8")


def test_every_message_of_options_is_among_them() -> None:
    """No message of options is forgotten above."""
    assert sorted(OPTION_MESSAGES) == sorted(re.findall(r"^message (\w+) \{", OPTIONS, re.MULTILINE))


@pytest.mark.parametrize("message", OPTION_MESSAGES)
def test_an_option_that_the_plugin_does_not_know_is_an_error(message: str, tmp_path: Path) -> None:
    """What a newer options.proto offers is not dropped silently, in whichever message it is."""
    newer = tmp_path / "carrick" / "v1" / "options.proto"
    newer.parent.mkdir(parents=True)
    marker = f"message {message} {{"
    newer.write_text(OPTIONS.replace(marker, f"{marker}\n  optional string mirror = 99;"), "utf-8")
    (error,) = errors_of(tmp_path, EVERYWHERE % (dict.fromkeys(OPTION_MESSAGES, "") | {message: 'mirror: "1s"'}))
    assert re.fullmatch(
        r"acme/v1/orders\.proto:[0-9]+:[0-9]+: this protoc-gen-carrick does not know "
        rf"carrick\.v1\.{message}\.mirror; install a newer carrick",
        error,
    )
