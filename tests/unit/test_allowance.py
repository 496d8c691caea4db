import pytest

from carrick.allowance import RetryAllowance, parse_allowance


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("3", 3),
        ("100", 100),
        ("999", 100),
        ("1000", None),
        ("-1", None),
        ("", None),
        ("٣", None),
        (b"3", None),
    ],
)
def test_what_a_peer_sent_is_read_with_care(value: object, expected: int | None) -> None:
    """A small number in ASCII digits, or nothing."""
    assert parse_allowance(value) == expected


def test_an_allowance_is_spent_and_never_grows() -> None:
    """A report of more than is left changes nothing."""
    allowance = RetryAllowance(2)
    allowance.learn(None)
    allowance.learn(5)
    allowance.spend()
    allowance.learn(1)
    allowance.spend()
    assert allowance.left == 0
