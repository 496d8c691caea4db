"""What becomes of an event whose handling failed."""

import pytest

from carrick.errors import CarrickError, Code, PermanentError, StoreError, TransportError
from carrick.messaging.verdict import Again, GiveUp, verdict
from carrick.options import HandlingOptions

OPTIONS = HandlingOptions(max_attempts=3, initial_backoff=1.0, max_backoff=5.0)


@pytest.mark.parametrize(
    ("attempts", "uniform", "delay"), [(1, 0.0, 0.5), (1, 1.0, 1.0), (2, 0.0, 1.0), (3, 1.0, 4.0), (9, 1.0, 5.0)]
)
def test_the_wait_grows_up_to_its_bound(attempts: int, uniform: float, delay: float) -> None:
    """It doubles with each attempt, and its second half is left to chance."""
    judged = verdict(KeyError(), OPTIONS, attempts=attempts, failures=0, uniform=uniform)
    assert judged == Again(delay, 1)


def test_the_last_failure_gives_up() -> None:
    """The reason says how often, and why at last."""
    judged = verdict(KeyError("x"), OPTIONS, attempts=7, failures=2, uniform=0.5)
    assert judged == GiveUp("failed 3 times, at last with KeyError: 'x'", 3)


@pytest.mark.parametrize(
    "error",
    [
        StoreError(Code.UNAVAILABLE, "away"),
        TransportError(Code.UNAVAILABLE, "away"),
        CarrickError(Code.ABORTED, "taken over"),
        CarrickError(Code.RESOURCE_EXHAUSTED, "too many"),
    ],
)
def test_an_outage_is_no_failure(error: CarrickError) -> None:
    """However often it happens."""
    judged = verdict(error, OPTIONS, attempts=1000, failures=2, uniform=0.0)
    assert judged == Again(2.5, 2)


def test_what_is_permanent_is_not_tried_again() -> None:
    """The handler's word is enough."""
    judged = verdict(PermanentError("no such customer"), OPTIONS, attempts=1, failures=0, uniform=0.0)
    assert judged == GiveUp("can never be handled: no such customer", 1)
