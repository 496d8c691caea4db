"""Requests that are read once and sent as often as it takes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from carrick import CarrickError, Code
from carrick.policy.replay import Replay
from tests.unit.calls import turns
from tests.unit.streams import Item, item, items, numbers

LIMIT = 10_000


class Source:
    """Requests numbered from 0, which says how many were asked for and whether it was closed."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.asked = 0
        self.closed = asyncio.Event()
        self._count = count
        self._error = error

    async def __call__(self) -> AsyncGenerator[Item, None]:
        """Yield them."""
        try:
            for number in range(self._count):
                self.asked += 1
                yield item(number)
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()


async def some(requests: AsyncIterator[Item], count: int) -> list[int]:
    """Return the numbers of the first ``count`` requests."""
    return [(await anext(requests)).total for _ in range(count)]


async def test_each_pass_begins_with_the_first_request() -> None:
    """A pass sees what earlier ones saw, and goes on with the source where they stopped."""
    source = Source(6)
    replay = Replay(source(), LIMIT)
    assert await some(replay.requests(), 2) == [0, 1]
    assert await some(replay.requests(), 4) == [0, 1, 2, 3]
    assert await numbers(replay.requests()) == list(range(6))
    assert await numbers(replay.requests()) == list(range(6))
    assert replay.whole
    assert source.asked == 6
    assert source.closed.is_set()


async def test_the_source_is_read_two_requests_ahead_and_no_further() -> None:
    """Back-pressure reaches the source, though a task of its own reads it."""
    source = Source(100)
    replay = Replay(source(), LIMIT)
    assert await some(replay.requests(), 1) == [0]
    await turns()
    assert source.asked == 3
    replay.stop()
    await turns()
    assert source.closed.is_set()


async def test_a_pass_that_is_cancelled_loses_nothing() -> None:
    """A request that a cancelled pass was waiting for is the next one of the next pass."""
    gate = asyncio.Event()

    async def gated() -> AsyncGenerator[Item, None]:
        yield item(0)
        await gate.wait()
        yield item(1)

    replay = Replay(gated(), LIMIT)
    waiting = asyncio.create_task(numbers(replay.requests()))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await numbers(replay.requests()) == [0, 1]


async def test_more_than_the_limit_is_not_kept() -> None:
    """A pass goes on past the limit; another one would not be whole."""
    replay = Replay(items(100), 50)
    assert await numbers(replay.requests()) == list(range(100))
    assert not replay.whole


async def test_nothing_more_is_kept_after_the_release() -> None:
    """Once a response has come, the running pass sees every request once, and memory is let go of."""
    replay = Replay(items(10), LIMIT)
    assert await some(replay.requests(), 3) == [0, 1, 2]
    second = replay.requests()
    assert await some(second, 2) == [0, 1]
    replay.release()
    assert await numbers(second) == list(range(2, 10))
    assert replay._kept == []


async def test_an_error_of_the_source_comes_in_its_place() -> None:
    """Every pass gets the requests before the error, and then the error."""
    replay = Replay(Source(2, ValueError("broken"))(), LIMIT)
    for _ in range(2):
        requests = replay.requests()
        assert await some(requests, 2) == [0, 1]
        with pytest.raises(ValueError, match="broken"):
            await anext(requests)


async def test_one_message_object_for_all_requests() -> None:
    """What was kept does not change when the source changes its message."""

    async def reusing() -> AsyncGenerator[Item, None]:
        message = Item()
        for number in range(4):
            message.total = number
            yield message

    replay = Replay(reusing(), LIMIT)
    assert await some(replay.requests(), 3) == [0, 1, 2]
    assert await numbers(replay.requests()) == [0, 1, 2, 3]


async def test_a_source_that_leaks_a_cancellation() -> None:
    """A CancelledError that nobody asked for is the source's own error, and reaches the pass."""

    async def leaking() -> AsyncGenerator[Item, None]:
        yield item(0)
        raise asyncio.CancelledError

    requests = Replay(leaking(), LIMIT).requests()
    assert (await anext(requests)).total == 0
    with pytest.raises(asyncio.CancelledError):
        await anext(requests)


async def test_stopping_before_the_first_pass() -> None:
    """A call that was refused before anything was sent has not touched its requests."""
    source = Source(3)
    replay = Replay(source(), LIMIT)
    replay.stop()
    await turns()
    assert source.asked == 0


@pytest.mark.parametrize("error", [BaseException("odd"), GeneratorExit(), asyncio.CancelledError()])
async def test_an_error_that_is_no_exception_ends_the_pass_too(error: BaseException) -> None:
    """Whatever the source raises, who reads the pass hears of it and does not wait for ever."""
    replay = Replay(Source(1, error)(), LIMIT)
    with pytest.raises(type(error)):
        await numbers(replay.requests())


class Unclosable:
    """Requests that never come, or none at all, whose closing fails."""

    def __init__(self, *, hangs: bool = False) -> None:
        self._hangs = hangs

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        if self._hangs:
            await asyncio.Event().wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Fail."""
        raise OSError("can't close")


async def test_an_error_while_the_source_is_closed_ends_the_pass() -> None:
    """A source that has ended, and can't be closed, is an error of the requests."""
    with pytest.raises(OSError, match="can't close"):
        await numbers(Replay(Unclosable(), LIMIT).requests())


async def test_an_error_after_the_stop_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """When the call is over nobody reads a pass; what the source raises then is logged, and no task is left."""
    before = asyncio.all_tasks()
    replay = Replay(Unclosable(hangs=True), LIMIT)
    reading = asyncio.ensure_future(numbers(replay.requests()))
    await turns()
    reading.cancel()
    replay.stop()
    await asyncio.wait(asyncio.all_tasks() - before)
    assert "can't close" in caplog.text


async def test_what_is_no_message_goes_on_to_who_refuses_it() -> None:
    """Something else than a message is handed on as it is, for the sender to say what is wrong."""

    async def wrong() -> AsyncGenerator[Any, None]:
        yield 1

    assert [each async for each in Replay(wrong(), LIMIT).requests()] == [1]


async def test_passes_side_by_side() -> None:
    """Two passes, now the one ahead and now the other, both see everything, and the source is read once."""
    source = Source(6)
    replay = Replay(source(), LIMIT)
    one, other = replay.requests(), replay.requests()
    assert await some(one, 2) == [0, 1]
    assert await some(other, 4) == [0, 1, 2, 3]
    assert await some(one, 4) == [2, 3, 4, 5]
    rest = await asyncio.gather(numbers(one), numbers(other))
    assert list(rest) == [[], [4, 5]]
    assert source.asked == 6


async def test_passes_that_wait_for_the_same_request_both_get_it() -> None:
    """Neither takes it from the other, and one that is cancelled holds up none."""
    gate = asyncio.Event()

    async def gated() -> AsyncGenerator[Item, None]:
        await gate.wait()
        yield item(7)

    replay = Replay(gated(), LIMIT)
    waiting = [asyncio.create_task(numbers(replay.requests())) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    gate.set()
    assert await asyncio.gather(*waiting[1:]) == [[7], [7]]


async def test_beyond_the_limit_only_one_pass_goes_on() -> None:
    """The other one ends with an error that says what to do, and takes no request away."""
    replay = Replay(items(100), 10)
    one, other = replay.requests(), replay.requests()
    seen = [(await anext(one)).total]
    while replay.whole:
        seen.append((await anext(one)).total)
    seen.append((await anext(one)).total)
    with pytest.raises(CarrickError, match=r"more than 10 bytes of requests: they can't be sent twice") as caught:
        await numbers(other)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert [*seen, *await numbers(one)] == list(range(100))
