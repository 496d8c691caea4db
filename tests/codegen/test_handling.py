"""What a contract says of an event's consumers: what is wrong with it, and what becomes of the rest."""

import dataclasses
from pathlib import Path

import pytest

from carrick.options import HandlingOptions
from carrick_codegen._handling import ORDER
from tests.codegen.running import errors_of, text_of

PLACED = """
message Placed {
  option (carrick.v1.event) = {subject: "orders.placed.v1" key: "id" %s};
  string id = 1;
}
"""
NOT_A_DURATION = "must be a number with a unit (ms, s, m or h) and nothing between, not"
ATTEMPTS = "max_attempts must be 1 to 1000 (1 puts an event aside when it fails for the first time), not"


@pytest.mark.parametrize(
    ("handling", "message"),
    [
        ("max_attempts: 0", f"{ATTEMPTS} 0"),
        ("max_attempts: 1001", f"{ATTEMPTS} 1001"),
        *(
            (f'{name}: "{value}"', f"{name} {words}")
            for name in ("timeout", "initial_backoff", "max_backoff")
            for value, words in (
                ("2 s", f'{NOT_A_DURATION} "2 s"; write for example "2s"'),
                ("2", f'{NOT_A_DURATION} "2"; write for example "2s"'),
                ("0s", 'must be a time above zero, not "0s"; write for example "2s"'),
                ("-1s", 'must be a time above zero, not "-1s"; write for example "2s"'),
            )
        ),
        ("unknown_type: 3", "unknown_type must be DEAD_LETTER or SKIP, not 3"),
        (
            'initial_backoff: "2s" max_backoff: "500ms"',
            (
                "max_backoff (0.5 s) must not be below initial_backoff (2 s); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
        (
            'initial_backoff: "1m"',
            (
                "max_backoff (30 s unless given) must not be below initial_backoff (60 s); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
        (
            'max_backoff: "50ms"',
            (
                "max_backoff (0.05 s) must not be below initial_backoff (0.1 s unless given); "
                "write a longer max_backoff or a shorter initial_backoff"
            ),
        ),
    ],
)
def test_bad_handling(handling: str, message: str, tmp_path: Path) -> None:
    """Each mistake is reported at the event's option, with what to write instead."""
    assert errors_of(tmp_path, PLACED % f"handling: {{{handling}}}") == [f"acme/v1/orders.proto:5:3: {message}"]


@pytest.mark.parametrize(
    ("handling", "options"),
    [
        ("max_attempts: 1", "max_attempts=1"),
        ("max_attempts: 1000", "max_attempts=1000"),
        ('timeout: "1.5m"', "timeout=90.0"),
        ('initial_backoff: "30s"', "initial_backoff=30.0"),
        ('max_backoff: "100ms"', "max_backoff=0.1"),
        ('initial_backoff: "2s" max_backoff: "2s"', "initial_backoff=2.0, max_backoff=2.0"),
        ("hold_key: true", "hold_key=True"),
        ("hold_key: false", "hold_key=False"),
        ("unknown_type: DEAD_LETTER", "unknown_type=UnknownType.DEAD_LETTER"),
        ("unknown_type: SKIP hold_key: true", "hold_key=True, unknown_type=UnknownType.SKIP"),
        ("unknown_type: UNKNOWN_TYPE_UNSPECIFIED max_attempts: 2", "max_attempts=2"),
    ],
)
def test_good_handling(handling: str, options: str, tmp_path: Path) -> None:
    """Bounds themselves are good; what is given, and no more, is in the event's specification."""
    text = text_of(tmp_path, PLACED % f"handling: {{{handling}}}")
    assert f"    handling=HandlingOptions({options}),\n" in text
    assert ("UnknownType" in options) is ("UnknownType, Upcaster" in text)


@pytest.mark.parametrize("handling", ["", "handling: {}", "handling: {unknown_type: UNKNOWN_TYPE_UNSPECIFIED}"])
def test_what_is_not_given_is_the_runtimes(handling: str, tmp_path: Path) -> None:
    """A specification without any of it has the runtime's defaults, and imports nothing for it."""
    text = text_of(tmp_path, PLACED % handling)
    assert "handling=HandlingOptions(" not in text
    assert "UnknownType" not in text


UNORDERED = (
    "hold_key makes no sense for an unordered event: its later ones may pass one that fails; "
    "take hold_key away, or unordered where the order does matter"
)


def test_an_unordered_event_holds_no_key(tmp_path: Path) -> None:
    """Nothing would wait, so that is told at the flag."""
    body = """
    message Placed {
      option (carrick.v1.event).subject = "orders.placed.v1";
      option (carrick.v1.event).key = "id";
      option (carrick.v1.event).unordered = true;
      option (carrick.v1.event).handling.max_attempts = 5;
      option (carrick.v1.event).handling.hold_key = true;
      string id = 1;
    }
    """
    assert errors_of(tmp_path, body) == [f"acme/v1/orders.proto:9:3: {UNORDERED}"]


@pytest.mark.parametrize(("unordered", "hold_key"), [("true", "false"), ("false", "true")])
def test_either_of_the_two_is_good(unordered: str, hold_key: str, tmp_path: Path) -> None:
    """A flag that is given as false asks for nothing."""
    body = PLACED % f"unordered: {unordered} handling: {{hold_key: {hold_key}}}"
    assert f"handling=HandlingOptions(hold_key={hold_key.capitalize()})" in text_of(tmp_path, body)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Those of handling do not hide the event's others, nor each other."""
    body = PLACED % 'unordered: true handling: {max_attempts: 0 timeout: "0s" hold_key: true}'
    found = errors_of(tmp_path, body.replace('key: "id"', 'key: "idd"'))
    assert [error.partition(": ")[2].partition(";")[0].partition(" must")[0] for error in found] == [
        'acme.v1.Placed has no field "idd"',
        UNORDERED.partition(";")[0],
        "max_attempts",
        "timeout",
    ]


def test_of_a_bad_value_only_that_is_told(tmp_path: Path) -> None:
    """A backoff that was left out for its mistake is not compared as if it were not given."""
    (error,) = errors_of(tmp_path, PLACED % 'handling: {initial_backoff: "1m" max_backoff: "5 m"}')
    assert "max_backoff must be a number with a unit" in error


def test_the_defaults_that_the_plugin_compares_with_are_the_runtimes() -> None:
    """What is given is compared with the default that the runtime will use for the other one."""
    defaults = {each.name: each.default for each in dataclasses.fields(HandlingOptions)}
    assert (defaults[ORDER.high], defaults[ORDER.low]) == (ORDER.high_default, ORDER.low_default)
