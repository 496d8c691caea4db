"""Times as they are given to commands."""

import pytest

from carrick.cli.moments import duration, moment, shown
from carrick.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("0.5", 0.5), ("90s", 90.0), ("2h", 7200.0), ("1h30m", 5400.0), ("7d", 604_800.0), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    """A number is seconds; units may follow each other."""
    assert duration("--for", text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 1_000_000.0 - 7200),
        ("60", 1_000_000.0 - 60),
        ("2026-11-24T10:00Z", 1_795_514_400.0),
        ("2026-11-24T12:00:00+02:00", 1_795_514_400.0),
        ("2026-11-24T10:00", 1_795_514_400.0),
        ("2026-11-24", 1_795_478_400.0),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    """A duration is so long ago; a moment without a zone is UTC."""
    assert moment("--since", text, now=1_000_000.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 h", "-5", "5y", "h", "2026-13-01", "nan", "inf"])
def test_what_is_neither_is_told(text: str) -> None:
    """With the option, and what to write."""
    with pytest.raises(ConfigurationError, match=r"^--since is a duration like 30m, 2h or 7d, or a moment like"):
        moment("--since", text, now=0.0)
    with pytest.raises(ConfigurationError, match=r"^--for is a duration like 90s"):
        duration("--for", text)


def test_moments_are_shown_as_they_are_given() -> None:
    """What is printed may be given back."""
    assert moment("--since", shown(1_795_514_400.0), now=0.0) == 1_795_514_400.0
