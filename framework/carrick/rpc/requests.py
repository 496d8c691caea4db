"""A stream of requests as a handler gets it: its end is the caller's, and not the connection's."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Generic, Self, TypeVar

import grpc.aio

from carrick.cancellation import finish
from carrick.stream import close

__all__ = ["WholeRequests"]

T = TypeVar("T")


class WholeRequests(Generic[T]):
    """Requests of a call that has one response, whose end is made sure of.

    When a request is too large, grpc.aio ends the iteration as if all had come, and cancels the handler a moment later,
    which may by then have taken a part for the whole. So at the end this sends the response's headers, which are due
    anyway: of a call that was broken off the cancellation arrives while it does.
    """

    __slots__ = ("_ended", "_iterator", "_requests", "_transport")

    def __init__(self, requests: AsyncIterable[T], transport: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._requests = requests
        self._iterator: AsyncIterator[T] | None = None
        self._transport = transport
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._iterator is None:
            self._iterator = aiter(self._requests)
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            if not self._ended:
                self._ended = True
                await finish(self._send_headers())  # half sent they would be sent again, and break the call
            raise

    async def aclose(self) -> None:
        """Ask for no more."""
        await close(self._iterator)

    async def _send_headers(self) -> None:
        await self._transport.send_initial_metadata(())
