"""The fake clock: stands still, moves when told, wakes who slept."""

import asyncio

import pytest

from carrick.testing import FakeClock


def test_time_stands_still(fake_clock: FakeClock) -> None:
    """Looking at it moves nothing; both times move together."""
    assert fake_clock.monotonic() == fake_clock.monotonic() == 1000.0
    assert fake_clock.wall() == 1_700_000_000.0
    fake_clock.advance(2.5)
    assert (fake_clock.monotonic(), fake_clock.wall()) == (1002.5, 1_700_000_002.5)


async def test_sleepers_wake_in_the_order_of_their_times(fake_clock: FakeClock) -> None:
    """Those whose time has come are woken, the earliest first; the others sleep on."""
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await fake_clock.sleep(seconds)
        woken.append(seconds)

    sleeping = [asyncio.create_task(sleep(seconds)) for seconds in (3.0, 1.0, 2.0)]
    await asyncio.sleep(0)
    fake_clock.advance(2.0)
    await asyncio.wait(sleeping[1:])
    assert woken == [1.0, 2.0]
    fake_clock.advance(0.999)
    await asyncio.sleep(0)
    assert not sleeping[0].done()
    fake_clock.advance(0.001)
    await sleeping[0]
    assert fake_clock.slept == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_passes_at_once(fake_clock: FakeClock, seconds: float) -> None:
    """Sleeping for nothing gives way to others and goes on, as asyncio's sleep does."""
    before = fake_clock.monotonic()
    async with asyncio.timeout(5):
        await fake_clock.sleep(seconds)
    assert fake_clock.monotonic() == before


async def test_a_cancelled_sleeper_is_forgotten(fake_clock: FakeClock) -> None:
    """Moving the time past a sleep that was cancelled wakes nobody and harms nobody."""
    sleeping = asyncio.create_task(fake_clock.sleep(1.0))
    await asyncio.sleep(0)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    fake_clock.advance(5.0)


async def test_autojump_moves_the_time_by_every_sleep() -> None:
    """A loop with pauses runs through at once, and its pauses can be read off."""
    clock = FakeClock(autojump=True)
    for seconds in (1.0, 0.5, 0.0):
        await clock.sleep(seconds)
    assert clock.monotonic() == 1001.5
    assert clock.slept == [1.0, 0.5, 0.0]
