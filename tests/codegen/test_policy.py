"""Errors in policies: where they are reported, in what words, and that the runtime agrees."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from carrick.errors import Code, ConfigurationError
from carrick.options import BreakerOptions, IdempotencyOptions, KeyRule, MethodPolicy, RetryOptions
from carrick_codegen import _policy, model
from carrick_codegen.plugin import generate
from tests.codegen.compiling import compile_files

METHOD = """
service Orders {
  rpc Get(M) returns (M) {
    option (carrick.v1.method) = {%s};
  }
}
message M {}
"""

NOT_A_DURATION = "must be a number with a unit (ms, s, m or h) and nothing between, not"


def errors_of(folder: Path, body: str) -> list[str]:
    """Return what the plugin says about one contract file."""
    return generate(compile_files(folder, orders=body)).error.splitlines()


DURATIONS = [
    ("timeout", "{}"),
    ("initial_backoff", "retry: {{{}}}"),
    ("max_backoff", "retry: {{{}}}"),
    ("window", "breaker: {{{}}}"),
    ("open_for", "breaker: {{{}}}"),
    ("expiry", "idempotency: {{key: REQUIRED {}}}"),
]


@pytest.mark.parametrize(("name", "policy"), DURATIONS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2 s", f'{NOT_A_DURATION} "2 s"; write for example "2s"'),
        ("2", f'{NOT_A_DURATION} "2"; write for example "2s"'),
        ("abc", f'{NOT_A_DURATION} "abc"; write for example "2s"'),
        ("0s", 'must be a time above zero, not "0s"; write for example "2s"'),
        ("-1s", 'must be a time above zero, not "-1s"; write for example "2s"'),
    ],
)
def test_bad_durations(name: str, policy: str, value: str, message: str, tmp_path: Path) -> None:
    """Every duration of a policy is checked."""
    body = METHOD % policy.format(f'{name}: "{value}"')
    assert errors_of(tmp_path, body) == [f"acme/v1/orders.proto:6:5: {name} {message}"]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("retry: {max_attempts: 0}", "max_attempts must be 1 to 100 (1 turns retries off), not 0"),
        ("retry: {max_attempts: 101}", "max_attempts must be 1 to 100 (1 turns retries off), not 101"),
        ("retry: {multiplier: 0.9}", "multiplier must be 1 or more (2 doubles the wait each time), not 0.9"),
        ("retry: {multiplier: nan}", "multiplier must be 1 or more (2 doubles the wait each time), not nan"),
        ("retry: {multiplier: inf}", "multiplier must be 1 or more (2 doubles the wait each time), not inf"),
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
            "retry: {codes: [UNAVAILABLE, OK]}",
            "codes must not hold OK: a success is not tried again; take OK out",
        ),
        ("retry: {codes: [99]}", "codes holds 99, which is no status of gRPC; write a name like UNAVAILABLE"),
        (
            "breaker: {failure_ratio: 0}",
            "failure_ratio must be above 0 and at most 1 (0.5 means half of the calls), not 0.0",
        ),
        (
            "breaker: {failure_ratio: 50}",
            "failure_ratio must be above 0 and at most 1 (0.5 means half of the calls), not 50.0",
        ),
        ("breaker: {min_calls: 0}", "min_calls must be 1 or more, not 0"),
        ("breaker: {trials: 0}", "trials must be 1 or more, not 0"),
        *(
            (
                f"idempotency: {{{given}}}",
                "idempotency has no key; add key: REQUIRED, or key: OPTIONAL to let calls without a key in",
            )
            for given in ("", 'expiry: "1h"', "key: KEY_UNSPECIFIED")
        ),
    ],
)
def test_bad_values(policy: str, message: str, tmp_path: Path) -> None:
    """Each value that makes no sense is reported at its option, with what to write instead."""
    assert errors_of(tmp_path, METHOD % policy) == [f"acme/v1/orders.proto:6:5: {message}"]


def test_retry_without_a_promise_of_idempotency_is_no_error(tmp_path: Path) -> None:
    """Such a method is retried only when the call was certainly never executed, which is of use."""
    assert errors_of(tmp_path, METHOD % "retry: {max_attempts: 2}") == []


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
    response = generate(compile_files(tmp_path, orders=body))
    assert not response.error
    assert "retry=RetryOptions(initial_backoff=3.0, max_backoff=5.0)" in response.file[0].content
    assert "idempotency=IdempotencyOptions(key=KeyRule.REQUIRED, expiry=3600.0)" in response.file[0].content


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
    text = generate(compile_files(tmp_path, orders=body)).file[0].content
    assert re.findall(r"timeout=(.*),", text)[:2] == ["5.0", "7.0"]
    assert text.count("retry=RetryOptions(max_attempts=6, multiplier=3.0)") == 2
    assert text.count("breaker=BreakerOptions(trials=4)") == 2


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


EVERYWHERE = """
option (carrick.v1.file) = {%(FileOptions)s};
service Orders {
  option (carrick.v1.service) = {%(ServiceOptions)s};
  rpc Get(M) returns (M) {
    option (carrick.v1.method) = {
      retry: {%(RetryPolicy)s} breaker: {%(BreakerPolicy)s} idempotency: {key: REQUIRED %(IdempotencyPolicy)s}
      %(MethodPolicy)s
    };
  }
}
message M {
  option (carrick.v1.event) = {subject: "orders.placed.v1" key: "id" %(EventPolicy)s};
  string id = 1;
}
"""
"""A place for a field of each message of options."""

OPTION_MESSAGES = re.findall(r"%\((\w+)\)", EVERYWHERE)


@pytest.mark.parametrize("message", OPTION_MESSAGES)
def test_an_option_that_the_plugin_does_not_know_is_an_error(message: str, tmp_path: Path) -> None:
    """What a newer options.proto offers is not dropped silently, in whichever message it is."""
    options = (Path(__file__).parents[2] / "proto" / "carrick" / "v1" / "options.proto").read_text("utf-8")
    newer = tmp_path / "carrick" / "v1" / "options.proto"
    newer.parent.mkdir(parents=True)
    marker = f"message {message} {{"
    newer.write_text(options.replace(marker, f"{marker}\n  optional string hedge = 99;"), "utf-8")
    (error,) = errors_of(tmp_path, EVERYWHERE % (dict.fromkeys(OPTION_MESSAGES, "") | {message: 'hedge: "1s"'}))
    assert re.fullmatch(
        r"acme/v1/orders\.proto:[0-9]+:[0-9]+: this protoc-gen-carrick does not know "
        rf"carrick\.v1\.{message}\.hedge; install a newer carrick",
        error,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryOptions(max_attempts=0),
        lambda: RetryOptions(max_attempts=101),
        lambda: RetryOptions(multiplier=0.9),
        lambda: RetryOptions(initial_backoff=2.0),
        lambda: RetryOptions(max_backoff=0.02),
        lambda: RetryOptions(codes=frozenset({Code.OK})),
        lambda: BreakerOptions(failure_ratio=0.0),
        lambda: BreakerOptions(failure_ratio=1.1),
        lambda: BreakerOptions(min_calls=0),
        lambda: BreakerOptions(trials=0),
        lambda: BreakerOptions(window=0.0),
        lambda: BreakerOptions(open_for=0.0),
        lambda: IdempotencyOptions(key=KeyRule.REQUIRED, expiry=0.0),
        lambda: MethodPolicy(timeout=0.0),
    ],
)
def test_the_runtime_refuses_the_same(make: Callable[[], object]) -> None:
    """What the plugin refuses in a contract, the runtime refuses in code."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (model.Retry, RetryOptions),
        (model.Breaker, BreakerOptions),
        (model.Idempotency, IdempotencyOptions),
        (model.Policy, MethodPolicy),
    ],
)
def test_the_model_has_the_fields_of_the_runtime(part: type[model.Retry], options: type[RetryOptions]) -> None:
    """Each option of the runtime can be given in a contract, under the same name and in the same order."""
    names = [field.name for field in dataclasses.fields(part) if field.name != "at"]
    assert names == [field.name for field in dataclasses.fields(options)]


def test_the_defaults_that_the_plugin_compares_with_are_the_runtimes() -> None:
    """The bounds of a backoff are checked against the defaults that the runtime will use."""
    defaults = RetryOptions()
    assert (defaults.initial_backoff, defaults.max_backoff) == (_policy.INITIAL_BACKOFF, _policy.MAX_BACKOFF)
