import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from carrick import Context, current
from carrick.context import enter
from carrick.loop import Loop
from tests.unit.calls import PLAIN

_LONG = 3600.0


class _Steps:
    """A step that counts, and signals each time it was done."""

    def __init__(self, rest: float = _LONG, error: Exception | None = None) -> None:
        self.count = 0
        self.rest = rest
        self.error = error
        self._done = asyncio.Semaphore(0)

    async def __call__(self) -> float:
        self.count += 1
        self._done.release()
        if self.error is not None:
            raise self.error
        return self.rest

    async def done(self, steps: int = 1) -> None:
        async with asyncio.timeout(10):  # a loop that ended would keep the test waiting
            for _ in range(steps):
                await self._done.acquire()


async def test_it_steps_until_stopped() -> None:
    """Steps follow one another while the loop runs, and no more come after the stop."""
    steps = _Steps(rest=0.0)

    async with Loop("test", _yielding(steps)):
        await steps.done(5)
    count = steps.count
    await asyncio.sleep(0)

    assert steps.count == count


async def test_wake_ends_the_rest() -> None:
    """A loop that rests for an hour steps again when it is woken."""
    steps = _Steps()

    async with Loop("test", steps) as loop:
        await steps.done()
        loop.wake()
        await steps.done()

    assert steps.count == 2


async def test_a_wake_during_a_step_is_not_lost() -> None:
    """What comes while a step is under way is seen by the next step, at once."""
    steps = _Steps()
    loop = Loop("test", lambda: _waking())

    async def _waking() -> float:
        if steps.count == 0:
            loop.wake()
        return await steps()

    async with loop:
        await steps.done(2)

    assert steps.count == 2


async def test_a_failing_step_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """An error is logged with the loop's name and the next step follows."""
    steps = _Steps(error=KeyError("lost"))

    async with Loop("relay", steps) as loop:
        await steps.done()
        loop.wake()
        await steps.done()

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert caplog.messages[0].startswith("relay failed and goes on in ")
    assert caplog.records[0].exc_info is not None


async def test_it_outlives_any_number_of_failures(caplog: pytest.LogCaptureFixture) -> None:
    """The backoff is bounded after thousands of failures too: a loop never ends by itself."""
    caplog.set_level(logging.CRITICAL, "carrick.loop")
    steps = _Steps(error=KeyError("lost"))
    loop = Loop("test", lambda: _at_once())

    async def _at_once() -> float:
        await asyncio.sleep(0)
        loop.wake()  # ends the rest after this step
        return await steps()

    async with loop:
        await steps.done(1100)

    assert steps.count >= 1100


async def test_stop_waits_for_the_step_under_way() -> None:
    """A step that was begun comes to its end before stop returns, and can see that it should."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    ended = False

    async def step() -> float:
        nonlocal ended
        entered.set()
        await go_on.wait()
        ended = True
        return 0.0

    loop = Loop("test", step)
    await loop.start()
    await entered.wait()
    stopping = asyncio.create_task(loop.stop())
    await asyncio.sleep(0)

    assert loop.stopping
    assert not stopping.done()
    go_on.set()
    await stopping
    assert ended


async def test_stop_cancels_a_step_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    """After the grace the step is cancelled, and the log says which loop it was."""
    entered = asyncio.Event()

    async def step() -> float:
        entered.set()
        await asyncio.Event().wait()
        return 0.0

    loop = Loop("relay", step, grace=0.001)
    await loop.start()
    await entered.wait()
    await loop.stop()

    assert caplog.messages == ["relay did not end within 0.001 s and is cancelled"]


async def test_stop_ends_a_rest_inside_a_step() -> None:
    """A step that waits with the loop's own rest is not in the way of a stop."""
    entered = asyncio.Event()
    rested: list[bool] = []

    async def step() -> float:
        entered.set()
        await loop.rest(_LONG)
        rested.append(loop.stopping)
        return 0.0

    loop = Loop("test", step)
    async with loop:
        await entered.wait()
    assert rested == [True], "the step was cancelled instead of being let go"


async def test_rest_ends_by_itself() -> None:
    """Without a wake the rest is as long as was asked."""
    await Loop("test", _Steps()).rest(0.0)


async def test_it_can_be_stopped_twice_and_started_again() -> None:
    """Stopping a stopped loop does nothing, starting it again works."""
    steps = _Steps()
    loop = Loop("test", steps)
    await loop.stop()

    for _ in range(2):
        await loop.start()
        await steps.done()
        await loop.stop()
        await loop.stop()

    assert steps.count == 2


async def test_it_runs_outside_the_call_that_started_it() -> None:
    """A loop started while a call is handled does not go on with that call's deadline and key."""
    seen: list[Context | None] = []
    done = asyncio.Event()

    async def step() -> float:
        seen.append(current())
        done.set()
        return _LONG

    with enter(Context(PLAIN)):
        async with Loop("test", step):
            await done.wait()

    assert seen == [None]


def _yielding(steps: _Steps) -> Callable[[], Awaitable[float]]:
    async def step() -> float:
        await asyncio.sleep(0)
        return await steps()

    return step


async def test_a_step_that_never_waits_does_not_hold_up_the_event_loop() -> None:
    """A busy step that wakes itself leaves the others their turns."""
    steps = 0

    async def step() -> float:
        nonlocal steps
        steps += 1
        loop.wake()
        return 0.5

    loop = Loop("busy", step)
    async with loop:
        for _ in range(5):
            await asyncio.sleep(0)
    assert 1 < steps < 100


async def test_any_thread_may_wake_it() -> None:
    """A commit in a thread ends the rest at once; after the stop, and with its event loop gone, a wake does nothing."""
    steps = _Steps()
    loop = Loop("test", steps)
    await asyncio.to_thread(loop.wake)
    async with loop:
        await steps.done()
        for _ in range(3):
            await asyncio.to_thread(loop.wake)
            await steps.done()
    await asyncio.to_thread(loop.wake)


def test_a_wake_after_its_event_loop_is_closed_does_nothing() -> None:
    """A thread may commit while the process stops."""

    async def start() -> Loop:
        loop = Loop("test", _Steps())
        await loop.start()
        return loop

    asyncio.run(start()).wake()
