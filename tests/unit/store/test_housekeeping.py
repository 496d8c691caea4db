"""Housekeeping: purges run until nothing is left, and again after a while."""

import asyncio

import pytest

from carrick.store import Housekeeping
from tests.unit.testing.programs import until


class Rows:
    """So many rows to remove, three at a time."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.calls = 0

    async def purge(self) -> int:
        """Remove three at most."""
        self.calls += 1
        removed = min(3, self.left)
        self.left -= removed
        return removed


async def test_each_purge_runs_until_nothing_is_left() -> None:
    """Batches follow each other, and one purge follows the other."""
    first, second = Rows(7), Rows(4)
    async with Housekeeping(first.purge, second.purge):
        await until(lambda: second.calls == 3)
    assert (first.left, first.calls) == (0, 4)
    assert (second.left, second.calls) == (0, 3)


async def test_purges_are_repeated() -> None:
    """After the interval everything is looked at again."""
    rows = Rows(0)
    async with Housekeeping(rows.purge, interval=0.01):
        await until(lambda: rows.calls >= 3)


async def test_one_purge_does_not_keep_the_others_waiting_for_ever() -> None:
    """A table that fills as fast as it is purged gets a bounded number of batches a round."""
    busy, other = Rows(10**9), Rows(1)
    async with Housekeeping(busy.purge, other.purge):
        await until(lambda: other.left == 0)
    assert busy.calls == 100


async def test_a_failing_purge_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """An error ends the round, not the housekeeping."""
    rows = Rows(1)
    failures = [OSError("the disk is full")]

    async def purge() -> int:
        if failures:
            raise failures.pop()
        return await rows.purge()

    async with Housekeeping(purge):
        await until(lambda: rows.left == 0)
    assert "housekeeping" in caplog.text
    assert "the disk is full" in caplog.text


async def test_a_stop_waits_for_the_batch_under_way_only() -> None:
    """A purge in the middle of many batches ends with the one it is at."""
    begun, may_end = asyncio.Event(), asyncio.Event()
    ended: list[int] = []

    async def purge() -> int:
        begun.set()
        await may_end.wait()
        ended.append(1)
        return 1

    housekeeping = Housekeeping(purge)
    async with housekeeping:
        await begun.wait()
        asyncio.get_running_loop().call_later(0.01, may_end.set)
    assert ended == [1]
