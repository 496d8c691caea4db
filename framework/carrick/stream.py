"""Streams of messages on their way through the stack: iterated once, by one task, and closed when they are let go."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from carrick.errors import CarrickError
from carrick.method import MethodSpec

__all__ = ["Concluding", "Requests", "RequestsFailedError", "check_streamed", "close", "copied", "report"]

T = TypeVar("T")


async def close(stream: object) -> None:
    """Close a stream that can be closed, as generators can: their ``finally`` blocks have run when this returns."""
    aclose: Any = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()


def copied(message: Any) -> Any:
    """Copy a message, which its source may go on changing; anything else is refused by what takes it."""
    if not isinstance(message, Message):
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def check_streamed(request: object, method: MethodSpec[Any, Any]) -> None:
    """Raise TypeError for what is in a stream of requests and is none of the method's."""
    if not isinstance(request, method.request):
        raise TypeError(
            f"{method.full_name} takes a stream of {method.request.__name__}, not a {type(request).__name__} in it"
        )


def report(error: BaseException, what: str) -> None:
    """Have the event loop report an error that nobody waits for, as it does when closing a generator fails."""
    own = error.error if isinstance(error, RequestsFailedError) else error
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": own})


class RequestsFailedError(Exception):
    """Carries the error of a call's own requests past the policies to its caller.

    It is no answer: what another call failed with while it was read for this one says nothing of this one's peer, nor
    whether this one was sent.
    """

    def __init__(self, error: CarrickError) -> None:
        super().__init__(str(error))
        self.error = error


class Requests(Generic[T]):
    """The requests of a call on their way to who takes them, by iterating; that closes them too.

    A ``CarrickError`` of theirs is raised as :class:`RequestsFailedError`. Where a call ends before anybody took them,
    :meth:`close_untaken` closes them.
    """

    __slots__ = ("_iterator", "_source", "_taken")

    def __init__(self, source: AsyncIterable[T]) -> None:
        self._source = source
        self._iterator: AsyncIterator[T] | None = None
        self._taken = False

    def __aiter__(self) -> Self:
        self._taken = True
        return self

    async def __anext__(self) -> T:
        try:
            if self._iterator is None:
                self._iterator = aiter(self._source)
            return await self._iterator.__anext__()
        except CarrickError as error:
            raise RequestsFailedError(error) from error

    async def aclose(self) -> None:
        """Close the source."""
        await close(self._source)

    async def close_untaken(self) -> None:
        """Close the source if nobody has taken it."""
        if not self._taken:
            await close(self._source)


class Concluding(Generic[T]):
    """A stream that tells how it ended: how a filter holds something until the last message.

    ``conclude`` is called once: with None at the stream's ordinary end, with the error that ended it, or with
    ``GeneratorExit`` when it was closed before its end. Closing a stream that nobody began concludes it too.
    """

    __slots__ = ("_conclude", "_stream")

    def __init__(self, stream: AsyncIterator[T], conclude: Callable[[BaseException | None], None]) -> None:
        self._stream = stream
        self._conclude: Callable[[BaseException | None], None] | None = conclude

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise

    async def aclose(self) -> None:
        """Conclude, and close the stream inside."""
        self._end(GeneratorExit())
        await close(self._stream)

    def _end(self, error: BaseException | None) -> None:
        conclude, self._conclude = self._conclude, None
        if conclude is not None:
            conclude(error)
