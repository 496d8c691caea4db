"""Lanes: the work of a key in order, one at a time, and keys beside each other."""

import asyncio
import random

import pytest

from carrick.messaging.lanes import Lanes
from tests.unit.testing.programs import until


def _lanes() -> Lanes[str, str]:
    """Work in capitals is taken together."""
    return Lanes(str.isupper)


async def _take(lanes: Lanes[str, str]) -> tuple[str, str]:
    async with asyncio.timeout(1):
        return await lanes.take()


async def _nothing(lanes: Lanes[str, str]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lanes.take()


async def test_a_lane_is_in_order_and_taken_by_one() -> None:
    """The next work of a lane is handed out when the lane was given back; others go on meanwhile."""
    lanes = _lanes()
    for lane, work in (("x", "1"), ("x", "2"), ("y", "3")):
        lanes.put(lane, work)
    assert await _take(lanes) == ("x", "1")
    assert await _take(lanes) == ("y", "3")
    await _nothing(lanes)
    lanes.give_back("x")
    assert await _take(lanes) == ("x", "2")


async def test_what_is_given_back_comes_first() -> None:
    """Work that was not done is done before what came later."""
    lanes = _lanes()
    lanes.put("x", "1")
    lane, work = await _take(lanes)
    lanes.put("x", "2")
    lanes.give_back(lane, work, "1b")
    taken = []
    for _ in range(3):
        taken.append((await _take(lanes))[1])
        lanes.give_back("x")
    assert taken == ["1", "1b", "2"]


async def test_many_lanes_are_taken_together() -> None:
    """Up to so many works, of each lane as many as follow each other; the rest waits for its lane."""
    lanes = _lanes()
    for lane, work in (("x", "A"), ("x", "B"), ("x", "c"), ("y", "D"), ("z", "E"), ("z", "F")):
        lanes.put(lane, work)
    assert await lanes.take_together(4) == [("x", ["A", "B"]), ("y", ["D"]), ("z", ["E"])]
    for lane in "xyz":
        lanes.give_back(lane)
    assert await _take(lanes) == ("x", "c")
    assert await lanes.take_together(4) == [("z", ["F"])]


async def test_more_of_a_lane_can_be_taken() -> None:
    """Who has a lane may take what comes next in it, as long as it is wanted."""
    lanes = _lanes()
    for work in ("1", "2", "A", "3"):
        lanes.put("x", work)
    await _take(lanes)
    assert lanes.more("x", str.isdigit, 5) == ["2"]
    assert lanes.more("x", str.isdigit, 5) == []
    assert lanes.more("y", str.isdigit, 5) == []


async def test_what_is_dropped_is_not_handed_out() -> None:
    """A lane that was dropped, filled again and taken is taken once."""
    lanes = _lanes()
    lanes.put("x", "1")
    lanes.put("X", "A")
    assert lanes.drop(lambda lane: True) == ["1", "A"]
    await _nothing(lanes)
    lanes.put("x", "2")
    assert await _take(lanes) == ("x", "2")
    assert lanes.busy(lambda lane: lane == "x")
    await _nothing(lanes)
    lanes.give_back("x")
    assert not lanes.busy(lambda lane: True)
    assert len(lanes) == 0


@pytest.mark.parametrize("seed", range(20))
async def test_every_work_is_handed_out_once_and_in_order(seed: int) -> None:
    """Whatever is put, taken, given back or done: nothing is lost, doubled, or passed by a later one of its lane."""
    random_ = random.Random(seed)
    lanes: Lanes[int, tuple[int, int, bool]] = Lanes(lambda work: work[2])
    done: dict[int, list[int]] = {lane: [] for lane in range(5)}
    busy: set[int] = set()

    def finish(lane: int, works: list[tuple[int, int, bool]]) -> None:
        keep = random_.randrange(len(works) + 1)
        done[lane] += [number for _, number, _ in works[:keep]]
        busy.remove(lane)
        lanes.give_back(lane, *works[keep:])

    async def single() -> None:
        while True:
            lane, work = await lanes.take()
            assert lane not in busy
            busy.add(lane)
            await asyncio.sleep(random_.random() / 1000)
            finish(lane, [work, *lanes.more(lane, lambda _: True, random_.randrange(3))])

    async def grouped() -> None:
        while True:
            for lane, works in await lanes.take_together(random_.randrange(1, 6)):
                assert lane not in busy
                busy.add(lane)
                await asyncio.sleep(random_.random() / 1000)
                finish(lane, works)

    workers = [asyncio.create_task(work()) for work in (single, single, grouped, grouped)]
    for number in range(200):
        lane = random_.randrange(5)
        lanes.put(lane, (lane, number, random_.random() < 0.5))
        if random_.random() < 0.1:
            await asyncio.sleep(0)
    await until(lambda: len(lanes) == 0)
    for worker in workers:
        worker.cancel()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    assert sorted(number for numbers in done.values() for number in numbers) == list(range(200))
    assert all(numbers == sorted(numbers) for numbers in done.values())
