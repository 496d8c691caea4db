"""Durations as contracts write them."""

import pytest

from carrick_codegen._duration import seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("250ms", 0.25), ("2s", 2.0), ("1.5m", 90.0), ("24h", 86_400.0), ("1.1ms", 0.0011), ("007s", 7.0)],
)
def test_durations_are_seconds(text: str, value: float) -> None:
    """A number with a unit is a time in seconds, without rounding on the way."""
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("2 s", "2s"),
        ("2", "2s"),
        (".5s", "0.5s"),
        ("10 sec", "10s"),
        ("5S", "5s"),
        ("abc", "2s"),
        ("", "2s"),
        ("1h30m", "2s"),
        ("+2s", "2s"),
        ("٣s", "2s"),
        ("2s\n", "2s"),
    ],
)
def test_malformed_durations_say_what_to_write(text: str, instead: str) -> None:
    """What is no number with a unit is refused, with the nearest thing that is one."""
    with pytest.raises(ValueError, match="must be a number with a unit") as caught:
        seconds(text)
    assert str(caught.value).endswith(f'write for example "{instead}"')


@pytest.mark.parametrize("text", ["0s", "0.0ms", "-2s", f"{'9' * 400}h", f"0.{'0' * 400}1s"])
def test_durations_are_above_zero_and_finite(text: str) -> None:
    """Zero, less, and what no float can hold are refused."""
    with pytest.raises(ValueError, match="must be a time above zero"):
        seconds(text)
