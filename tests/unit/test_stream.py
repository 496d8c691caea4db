"""Streams that tell how they end."""

from collections.abc import AsyncIterator

import pytest

from carrick.stream import Concluding, close


class Counting:
    """A stream of numbers that may fail behind the last one, and can be closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self._numbers = iter(range(count))
        self._error = error
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        try:
            return next(self._numbers)
        except StopIteration:
            raise self._error or StopAsyncIteration from None

    async def aclose(self) -> None:
        """Count the closings."""
        self.closed += 1


class Ends:
    """What a conclusion was told."""

    def __init__(self) -> None:
        self.told: list[BaseException | None] = []

    def __call__(self, error: BaseException | None) -> None:
        """Keep it."""
        self.told.append(error)


async def test_an_ordinary_end_is_told_once() -> None:
    """With None, after the last item, however often the stream is asked again."""
    ends = Ends()
    stream = Concluding(Counting(3), ends)
    assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
    assert ends.told == []
    assert [each async for each in stream] == []
    assert [each async for each in stream] == []
    await stream.aclose()
    assert ends.told == [None]


async def test_an_error_is_told_and_raised() -> None:
    """The error that ended the stream is the one that its reader gets."""
    ends, error = Ends(), ValueError("broken")
    stream = Concluding(Counting(1, error), ends)
    assert await anext(stream) == 0
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)
    assert ends.told == [error]


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_concludes_and_closes_what_is_inside(read: int) -> None:
    """A stream that is left early, or was never begun, is told to have been closed, and the one inside is closed."""
    ends, inside = Ends(), Counting(3)
    stream = Concluding(inside, ends)
    for _ in range(read):
        await anext(stream)
    await stream.aclose()
    assert [type(each) for each in ends.told] == [GeneratorExit]
    assert inside.closed == 1


async def test_closing_what_cannot_be_closed() -> None:
    """An iterator without aclose is left alone."""

    class Plain:
        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration

    await close(Plain())
    await Concluding(Plain(), lambda error: None).aclose()
