"""Parts of a policy that do not fit a method, given for it or inherited."""

from pathlib import Path

import pytest

from tests.codegen.running import errors_of, text_of

AT = "acme/v1/orders.proto"
INHERITED = """
service Orders {
  option (carrick.v1.service).policy = {%s};
  rpc Get(%s M) returns (%s M) {
    option idempotency_level = %s;
  }
}
message M {}
"""
OWN = """
service Orders {
  rpc Get(%s M) returns (%s M) {
    option idempotency_level = %s;
    option (carrick.v1.method) = {%s};
  }
}
message M {}
"""

PARTS = {
    "idempotency": "idempotency: {key: REQUIRED}",
    "cache": 'cache: {ttl: "1s"}',
    "hedge": "hedge: {max_hedges: 1}",
    "fallback": 'fallback: {last_good: "1s"}',
}
NO_CACHE = "cannot have a cache: caches are for unary methods with idempotency_level = NO_SIDE_EFFECTS;"
MISFITS = [
    (
        "idempotency",
        ("", "stream", "IDEMPOTENT"),
        (
            "is streaming and cannot have an idempotency key: there is no one request and reply to keep; "
            "give the idempotency policy to the unary methods only, or"
        ),
    ),
    ("cache", ("", "", "IDEMPOTENT"), NO_CACHE),
    ("cache", ("", "stream", "NO_SIDE_EFFECTS"), NO_CACHE),
    ("cache", ("stream", "", "NO_SIDE_EFFECTS"), NO_CACHE),
    (
        "hedge",
        ("", "", "IDEMPOTENCY_UNKNOWN"),
        "cannot be hedged: executing it twice may do harm; give the method an idempotency_level or a key, or",
    ),
    (
        "fallback",
        ("stream", "", "IDEMPOTENT"),
        "is streaming and has no last good reply: there is no one reply to keep;",
    ),
]


@pytest.mark.parametrize(("part", "method", "fault"), MISFITS)
def test_an_inherited_part_that_does_not_fit(
    part: str, method: tuple[str, str, str], fault: str, tmp_path: Path
) -> None:
    """It is told at the method, with how to take it away from this one; that helps."""
    body = INHERITED % (PARTS[part], *method)
    cure = f"{part}: {{enabled: false}}"
    assert errors_of(tmp_path, body) == [
        f"{AT}:6:3: method acme.v1.Orders.Get {fault} take the {part} policy away from it with {cure}"
    ]
    cured = body.replace("option idem", f"option (carrick.v1.method) = {{{cure}}};\n    option idem")
    assert errors_of(tmp_path, cured) == []


@pytest.mark.parametrize(("part", "method", "fault"), MISFITS)
def test_a_methods_own_part_that_does_not_fit(
    part: str, method: tuple[str, str, str], fault: str, tmp_path: Path
) -> None:
    """It is told where it is given, and only needs to be left out."""
    assert errors_of(tmp_path, OWN % (*method, PARTS[part])) == [
        f"{AT}:7:5: method acme.v1.Orders.Get {fault} take the {part} policy away from it"
    ]


@pytest.mark.parametrize(
    ("level", "policy"),
    [
        ("NO_SIDE_EFFECTS", 'cache: {} hedge: {} fallback: {last_good: "1s"}'),
        ("IDEMPOTENT", "hedge: {}"),
        ("IDEMPOTENCY_UNKNOWN", "hedge: {} idempotency: {key: OPTIONAL}"),
        ("IDEMPOTENCY_UNKNOWN", "cache: {enabled: false} hedge: {enabled: false}"),
    ],
)
def test_parts_that_fit(level: str, policy: str, tmp_path: Path) -> None:
    """What a method may be repeated by, it may be hedged by; reading may be cached."""
    assert errors_of(tmp_path, OWN % ("", "", level, policy)) == []


def test_a_key_that_is_switched_off_is_none(tmp_path: Path) -> None:
    """It does not make hedges harmless."""
    (error,) = errors_of(
        tmp_path, OWN % ("", "", "IDEMPOTENCY_UNKNOWN", "hedge: {} idempotency: {key: REQUIRED enabled: false}")
    )
    assert "cannot be hedged" in error


def test_streams_are_hedged(tmp_path: Path) -> None:
    """Until their first response."""
    assert errors_of(tmp_path, OWN % ("", "stream", "NO_SIDE_EFFECTS", "hedge: {}")) == []


def test_going_on_about_a_part_that_is_switched_off(tmp_path: Path) -> None:
    """A method that gives values for what its service has switched off has to say whether it wants it."""
    body = """
    service Orders {
      option (carrick.v1.service).policy = {retry: {enabled: false}};
      rpc Get(M) returns (M) {
        option (carrick.v1.method) = {retry: {%s max_attempts: 3}};
      }
    }
    message M {}
    """
    assert errors_of(tmp_path, body % "") == [
        (
            f"{AT}:7:5: retry is switched off for this method ({AT}:5:3); "
            "add enabled: true to have it here, or leave retry out"
        )
    ]
    assert "retry=RetryOptions(enabled=True, max_attempts=3)" in text_of(tmp_path, body % "enabled: true")
    assert "retry=RetryOptions(enabled=False)" in text_of(tmp_path, body % "enabled: false")
