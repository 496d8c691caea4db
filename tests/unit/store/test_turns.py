"""Turns: one at a time, first come first served."""

import asyncio

import pytest

from carrick.errors import Code, StoreError
from carrick.store.turns import Turns


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asked_first_comes_first() -> None:
    """Also before one who asks again at once."""
    turns = Turns("shop.db")
    order: list[str] = []

    async def take(name: str, times: int) -> None:
        for _ in range(times):
            async with turns.turn():
                order.append(name)
                await asyncio.sleep(0)

    await asyncio.gather(take("a", 3), take("b", 3), take("c", 3))
    assert order == ["a", "b", "c"] * 3


async def test_a_wait_may_end_before_the_turn() -> None:
    """Whose patience is over is refused, and those behind are none the worse."""
    turns = Turns("shop.db")
    async with turns.turn():
        with pytest.raises(StoreError, match=r"no turn within 0\.01 s: too many transactions") as caught:
            async with turns.turn(0.01):
                pytest.fail("entered")
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
    async with turns.turn(0.01):
        pass


async def test_a_cancelled_wait_costs_nobody_a_turn() -> None:
    """The next in the queue gets it."""
    turns = Turns("shop.db")
    had: list[str] = []

    async def take(name: str) -> None:
        async with turns.turn():
            had.append(name)

    async with turns.turn():
        first, second = asyncio.create_task(take("first")), asyncio.create_task(take("second"))
        await _settle()
        first.cancel()
    await second
    assert first.cancelled()
    assert had == ["second"]


async def test_closing_waits_for_the_turn_under_way_and_refuses_the_others() -> None:
    """Who has a turn finishes it; who waits for one and who asks later are refused, until it is opened."""
    turns = Turns("shop.db")
    done: list[str] = []

    async def take(name: str) -> None:
        async with turns.turn():
            await _settle()
            done.append(name)

    first, second = asyncio.create_task(take("first")), asyncio.create_task(take("second"))
    await asyncio.sleep(0)
    await turns.close()
    assert (first.done(), done) == (True, ["first"])
    for late in (second, asyncio.create_task(take("third"))):
        with pytest.raises(StoreError, match=r"UNAVAILABLE: shop\.db is closed"):
            await late
    turns.open()
    await take("fourth")
    assert done == ["first", "fourth"]
