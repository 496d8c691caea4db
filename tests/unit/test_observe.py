import dataclasses
import logging

import pytest

from carrick.observe import (
    BreakerOpened,
    EventsPublished,
    Observation,
    RetryScheduled,
    ignore,
    log,
    notify_all,
)

_OPENED = BreakerOpened(method="m", endpoint="e", failures=3, slow=0, calls=4)
_RETRIED = RetryScheduled(method="m", attempt=1, code="UNAVAILABLE", delay=0.1)


def test_observations_are_frozen() -> None:
    """An observer can't change what the next one sees."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _OPENED.calls = 5  # type: ignore[misc]


def test_trouble_is_logged_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    """An observation becomes a warning whose fields stand beside the message."""
    with caplog.at_level(logging.INFO, "carrick"):
        log(_OPENED)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "BreakerOpened: method m, endpoint e, reason failures, failures 3, slow 0, calls 4",
    )
    assert record.__dict__["observation"] == {
        "name": "BreakerOpened",
        "method": "m",
        "endpoint": "e",
        "reason": "failures",
        "failures": 3,
        "slow": 0,
        "calls": 4,
    }


@pytest.mark.parametrize(("observation", "level"), [(_RETRIED, "INFO"), (EventsPublished(count=3), "DEBUG")])
def test_what_happens_often_is_no_warning(
    caplog: pytest.LogCaptureFixture, observation: Observation, level: str
) -> None:
    """Retries and published batches do not look like trouble."""
    with caplog.at_level(logging.DEBUG, "carrick"):
        log(observation)

    assert [record.levelname for record in caplog.records] == [level]


def test_numbers_by_the_thousand_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The ages of a batch are for metrics."""
    with caplog.at_level(logging.DEBUG, "carrick"):
        log(EventsPublished(count=2, ages=(0.1, 0.2)))

    assert caplog.messages == ["EventsPublished: count 2"]
    assert caplog.records[0].__dict__["observation"] == {"name": "EventsPublished", "count": 2}


def test_what_nobody_reads_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Below the logger's level nothing is written."""
    with caplog.at_level(logging.ERROR, "carrick"):
        log(_OPENED)

    assert caplog.records == []


def test_notify_all_calls_in_order() -> None:
    """Several observers are told in the order they were given."""
    told: list[tuple[str, Observation]] = []
    observe = notify_all(lambda each: told.append(("a", each)), ignore, lambda each: told.append(("b", each)))

    observe(_OPENED)

    assert told == [("a", _OPENED), ("b", _OPENED)]
