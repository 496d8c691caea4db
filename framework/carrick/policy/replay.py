"""Requests of a streaming call, kept so that they can be sent again.

gRPC proposal A6 calls it the retry buffer: as long as no response has come and the requests fit in it, the call may be
tried again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from carrick.cancellation import cancelled
from carrick.stream import close, copied, report

__all__ = ["Replay"]

Req = TypeVar("Req", bound=Message)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the source, and the error that it ended with."""

    error: BaseException | None = None


class Replay(Generic[Req]):
    """A source of requests that can be read again from its first one, until more than ``limit`` bytes were read.

    One task reads the source through all attempts, at most two messages ahead of what is sent, and closes it. What it
    keeps are copies: a source may yield one message object again and again. Only one pass is read at a time.
    """

    def __init__(self, source: AsyncIterable[Req], limit: int) -> None:
        self._source = source
        self._limit = limit
        self._ahead: asyncio.Queue[Req | _End] = asyncio.Queue(1)
        self._end: _End | None = None
        self._kept: list[Req] = []
        self._size = 0
        self._keeping = True
        self._reader: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def whole(self) -> bool:
        """Whether everything that was read so far can be read again."""
        return self._size <= self._limit

    async def requests(self) -> AsyncGenerator[Req, None]:
        """Pass over the requests from the first one on. Closing it ends the pass alone, not the source."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        position = 0
        while True:
            if position < len(self._kept):
                message: Req | _End = self._kept[position]
            else:
                message = await self._next()
            if isinstance(message, _End):
                if message.error is not None:
                    raise message.error
                return
            position += 1
            yield message

    def release(self) -> None:
        """Keep no more: a response has come, and nothing will be sent again."""
        self._keeping = False

    def stop(self) -> None:
        """Stop reading the source, and have it closed."""
        self._stopped = True
        if self._reader is not None:
            self._reader.cancel()

    async def _next(self) -> Req | _End:
        if self._end is not None:
            return self._end
        if not self._keeping:
            self._kept.clear()
        message = await self._ahead.get()
        if isinstance(message, _End):
            self._end = message
        elif self._keeping:
            self._keep(message)
        return message

    def _keep(self, message: Req) -> None:
        self._kept.append(message)
        if isinstance(message, Message):  # anything else is refused by what sends it
            self._size += message.ByteSize()
        if not self.whole:
            self._keeping = False

    async def _read(self) -> None:
        end = _End()
        try:
            try:
                async for message in self._source:
                    await self._ahead.put(copied(message))
            finally:
                await close(self._source)
        except BaseException as error:  # the source's own error belongs to who reads the pass
            if cancelled(error):
                raise
            if self._stopped:
                report(error, "the requests of a call failed when it was over")
                return
            end = _End(error)
        await self._ahead.put(end)
