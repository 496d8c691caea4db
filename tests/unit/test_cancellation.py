import asyncio

import pytest

from carrick.cancellation import finish


class _Work:
    """Work that ends when it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = False
        self._error = error

    async def run(self) -> str:
        self.entered.set()
        await self.go_on.wait()
        self.ended = True
        if self._error is not None:
            raise self._error
        return "done"


async def test_it_gives_the_result() -> None:
    """Without a cancellation it is as if the work had been awaited."""
    work = _Work()
    work.go_on.set()

    assert await finish(work.run()) == "done"


async def test_it_raises_the_error() -> None:
    """What the work raises comes out."""
    work = _Work(KeyError("lost"))
    work.go_on.set()

    with pytest.raises(KeyError, match="lost"):
        await finish(work.run())


@pytest.mark.parametrize("error", [None, KeyError("lost")])
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelling_waits_for_the_end(times: int, error: Exception | None) -> None:
    """However often the caller is cancelled, the work ends first and the caller hears of the cancellation."""
    work = _Work(error)
    caller = asyncio.create_task(finish(work.run()))
    await work.entered.wait()

    for _ in range(times):
        caller.cancel()
        await _turn()
        assert not caller.done()
    work.go_on.set()
    await asyncio.wait((caller,))

    assert work.ended
    assert caller.cancelled()


async def test_work_that_is_cancelled_itself() -> None:
    """Work that ends with a cancellation of its own ends the caller with one."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finish(work())


async def test_a_timeout_around_it_fires_after_the_work() -> None:
    """The cancellation that a timeout makes is still the timeout's when the work has ended."""
    work = _Work()

    async def let_go() -> None:
        await work.entered.wait()
        await _turn()
        work.go_on.set()

    releasing = asyncio.create_task(let_go())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await finish(work.run())
    await releasing

    assert work.ended


async def _turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
