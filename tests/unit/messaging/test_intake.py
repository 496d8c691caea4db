"""Taking what comes: bounded in number and bytes, in order, and ended within a time."""

import asyncio
from typing import Any

import pytest

from carrick.context import Context, current, enter
from carrick.errors import ConfigurationError
from carrick.messaging.intake import Intake, IntakeOptions


class Handler:
    """Handles numbers when it may."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.ended: list[int] = []

    async def __call__(self, number: int) -> None:
        self.begun.append(number)
        await self.gate.wait()
        self.ended.append(number)


async def test_items_are_handled_in_order_one_at_a_time() -> None:
    """With a concurrency of 1 each waits for the one before."""
    handler = Handler()
    intake = Intake[int](handler, IntakeOptions(), name="test")
    assert all(intake.offer(number, 1) for number in range(5))
    await asyncio.sleep(0)
    assert (handler.begun, intake.running, intake.waiting) == ([0], 1, 4)
    handler.gate.set()
    assert await intake.close(5.0) == 0
    assert handler.ended == [0, 1, 2, 3, 4]


async def test_what_does_not_fit_is_turned_away() -> None:
    """By number and by bytes; room that was freed is given again."""
    handler = Handler()
    intake = Intake[int](handler, IntakeOptions(concurrency=2, max_waiting=2, max_waiting_bytes=10), name="test")
    assert [intake.offer(number, size) for number, size in enumerate([100, 100, 6, 5, 4, 0])] == [
        *[True, True],  # handled at once, whatever its size
        *[True, False, True],
        False,
    ]
    handler.gate.set()
    while intake.running:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    assert intake.offer(6, 10)
    await intake.close(5.0)
    assert sorted(handler.ended) == [0, 1, 2, 4, 6]


async def test_nothing_waits_where_nothing_may() -> None:
    """``max_waiting=0`` turns away all that is not handled at once."""
    intake = Intake[int](Handler(), IntakeOptions(max_waiting=0), name="test")
    assert intake.offer(1, 0)
    assert not intake.offer(2, 0)
    assert await intake.close(0.0) == 1


async def test_a_bug_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What raises is logged, what is cancelled from inside is passed over, and the next has its turn."""
    handled = list[int]()

    async def handle(number: int) -> None:
        if number == 0:
            raise KeyError("bug")
        if number == 1:
            raise asyncio.CancelledError
        handled.append(number)

    intake = Intake[int](handle, IntakeOptions(), name="test")
    for number in range(3):
        intake.offer(number, 0)
    await intake.close(5.0)
    assert handled == [2]
    assert "KeyError" in caplog.text


async def test_the_end_is_bounded() -> None:
    """After the grace what runs is cancelled and what waits is dropped; both are counted. Nothing is taken any more."""
    handler = Handler()
    intake = Intake[int](handler, IntakeOptions(), name="test")
    for number in range(3):
        intake.offer(number, 0)
    await asyncio.sleep(0)
    assert await intake.close(0.01) == 3
    assert (handler.begun, handler.ended) == ([0], [])
    assert not intake.offer(4, 0)
    assert await intake.close(0.01) == 0


async def test_a_cancelled_close_cancels() -> None:
    """Who can't wait for the end leaves nothing running."""
    handler = Handler()
    intake = Intake[int](handler, IntakeOptions(), name="test")
    intake.offer(0, 0)
    closing = asyncio.create_task(intake.close(30.0))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (intake.running, handler.ended) == (0, [])


async def test_items_are_handled_outside_of_any_call() -> None:
    """Who offers may be handling something: its deadline is not the item's."""
    seen = list[Any]()

    async def handle(number: int) -> None:
        seen.append(current())

    intake = Intake[int](handle, IntakeOptions(), name="test")
    with enter(Context(None)):
        intake.offer(0, 0)
    await intake.close(5.0)
    assert seen == [None]


@pytest.mark.parametrize(
    "bad", [{"concurrency": 0}, {"max_waiting": -1}, {"max_waiting_bytes": -1}, {"timeout": 0.0}, {"timeout": -1.0}]
)
def test_options_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    """At construction, in words that say what to write."""
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        IntakeOptions(**bad)
