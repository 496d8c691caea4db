"""Times as they are given to commands."""

import re
from datetime import UTC, datetime

from carrick.errors import ConfigurationError

__all__ = ["duration", "moment", "shown"]

_PARTS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+").fullmatch
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)").findall
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?").fullmatch


def duration(option: str, text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``1h30m`` or ``2d``. Raises ``ConfigurationError``."""
    found = _seconds(text)
    if found is None:
        raise ConfigurationError(f"{option} is a duration like 90s, 30m, 2h or 7d, not {text!r}")
    return found


def moment(option: str, text: str, *, now: float) -> float:
    """Return seconds since the epoch of a duration before ``now``, or of a moment as ISO 8601 writes it.

    One without a time zone is UTC. Raises ``ConfigurationError``.
    """
    ago = _seconds(text)
    if ago is not None:
        return now - ago
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} is a duration like 30m, 2h or 7d, or a moment like 2026-11-24T10:00Z, not {text!r}"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def shown(seconds: float) -> str:
    """Return a moment for people, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _seconds(text: str) -> float | None:
    if _NUMBER(text):
        return float(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART(text)) if _PARTS(text) else None
