"""settle: returns when everything that was set off has come to its end, and not before."""

import asyncio

import pytest

from carrick.testing import settle


class Part:
    """Works things off one after the other and hands each on to the next part."""

    def __init__(self, following: "Part | None" = None) -> None:
        self.processed = 0
        self.waiting = 0
        self.in_hand = 0
        self._following = following

    async def pending(self) -> int:
        """Count what waits. What is in hand does not show, as between an ack and the next look at a queue."""
        return self.waiting

    async def work(self) -> None:
        """Work off one thing."""
        self.waiting -= 1
        await asyncio.sleep(0.005)
        self.processed += 1
        if self._following is not None:
            self._following.waiting += 1

    async def run(self) -> None:
        """Work for ever."""
        while True:
            if self.waiting:
                await self.work()
            await asyncio.sleep(0.001)


async def test_nothing_to_do_is_settled() -> None:
    """It returns when nobody has anything, or nobody is there."""
    await settle()
    await settle(Part(), Part())


async def test_a_chain_is_waited_for() -> None:
    """One part's work becomes another's: it waits for the last."""
    last = Part()
    middle = Part(last)
    first = Part(middle)
    first.waiting = 10
    running = [asyncio.create_task(part.run()) for part in (first, middle, last)]
    await settle(last, middle, first)
    assert [part.processed for part in (first, middle, last)] == [10, 10, 10]
    for task in running:
        task.cancel()


async def test_a_timeout_says_what_is_pending() -> None:
    """Who does not come to an end is named, with how much is left."""
    stuck = Part()
    stuck.waiting = 3
    with pytest.raises(TimeoutError, match=r"not settled after 0\.05 s; pending: Part: 0, Part: 3"):
        await settle(Part(), stuck, timeout=0.05)


async def test_a_part_that_never_rests_is_a_timeout() -> None:
    """Nothing pending but always something done is not settled."""

    class Restless(Part):
        async def pending(self) -> int:
            self.processed += 1
            return 0

    with pytest.raises(TimeoutError, match="pending: Restless: 0"):
        await settle(Restless(), timeout=0.1)
