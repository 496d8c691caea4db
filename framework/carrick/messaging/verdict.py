"""What becomes of an event whose handling failed. Nothing is done here."""

from dataclasses import dataclass

from carrick.errors import CarrickError, Code, PermanentError
from carrick.options import HandlingOptions

__all__ = ["Again", "GiveUp", "reason_of", "verdict"]

_OUTAGES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED})


@dataclass(frozen=True, slots=True)
class Again:
    """It is handled again in ``delay`` seconds."""

    delay: float
    failures: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It goes to the dead letters."""

    reason: str
    failures: int


def verdict(
    error: BaseException, options: HandlingOptions, *, attempts: int, failures: int, uniform: float
) -> Again | GiveUp:
    """Judge a failure after so many ``attempts``, this one included, and ``failures`` before it.

    That something else is away is no fault of the event, and counts as no failure.
    """
    if isinstance(error, PermanentError):
        return GiveUp(f"can never be handled: {error.message}", failures + 1)
    failures += not (isinstance(error, CarrickError) and error.code in _OUTAGES)
    if failures >= options.max_attempts:
        return GiveUp(f"failed {failures} times, at last with {reason_of(error)}", failures)
    return Again(options.backoff(attempts, uniform), failures)


def reason_of(error: BaseException) -> str:
    """Name an error in a line."""
    return f"{type(error).__name__}: {error}"
