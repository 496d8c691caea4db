"""Requests of a streaming call, kept so that they can be sent again.

gRPC proposal A6 calls it the retry buffer: as long as no response has come and the requests fit in it, the call may be
tried again, or hedged.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from carrick.cancellation import cancelled
from carrick.context import Context
from carrick.errors import CarrickError, Code
from carrick.service import Filter, Service
from carrick.stream import Concluding, close, copied, report

__all__ = ["Replay", "keep_requests", "read_kept"]

Req = TypeVar("Req", bound=Message)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the source, and the error that it ended with."""

    error: BaseException | None = None


class Replay(Generic[Req]):
    """A source of requests that can be read again from its first one, until more than ``limit`` bytes were read.

    One task reads the source through all attempts, at most two messages ahead of what is sent, and closes it. What it
    keeps are copies: a source may yield one message object again and again. Several passes may be read side by side as
    long as everything is kept; the first one to go beyond that is the only one that can go on.
    """

    def __init__(self, source: AsyncIterable[Req], limit: int) -> None:
        self._source = source
        self._limit = limit
        self._ahead: asyncio.Queue[Req | _End] = asyncio.Queue(1)
        self._turn = asyncio.Lock()
        self._end: _End | None = None
        self._last: object = None
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
        this_pass, position = object(), 0
        while True:
            message = await self._at(position, this_pass)
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

    async def _at(self, position: int, reader: object) -> Req | _End:
        """Return what is at a position of a pass: from what is kept, or else what the source yields next."""
        if position < len(self._kept):
            return self._kept[position]
        async with self._turn:  # another pass may have read it meanwhile
            return self._kept[position] if position < len(self._kept) else await self._next(reader)

    async def _next(self, reader: object) -> Req | _End:
        if not self._keeping:
            self._take_over(reader)
        if self._end is not None:
            return self._end
        message = await self._ahead.get()
        if isinstance(message, _End):
            self._end = message
        elif self._keeping:
            self._keep(message)
        return message

    def _take_over(self, reader: object) -> None:
        """Make a pass the last one, and forget what was kept for others."""
        if self._last is None:
            self._last = reader
            self._kept.clear()
        elif self._last is not reader:
            raise CarrickError(
                Code.RESOURCE_EXHAUSTED,
                f"more than {self._limit} bytes of requests: they can't be sent twice; raise retry's replay_bytes",
            )

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


def keep_requests(limit: int) -> Filter:
    """Make a filter that keeps up to ``limit`` bytes of a stream of requests until a response has come.

    What is inside of it gets a :class:`Replay` in place of the requests, and :func:`read_kept` behind the policies that
    begin attempts gives each attempt a pass of its own. Not for calls that must not be executed twice.
    """

    async def keeping(request: Any, ctx: Context, service: Service) -> Any:
        assert ctx.method is not None
        replay: Replay[Any] = Replay(request, limit)
        try:
            reply = await service(replay, ctx)
        except BaseException:
            replay.stop()
            raise
        replay.release()
        if ctx.method.streams_responses:
            return Concluding(reply, lambda error: replay.stop())
        replay.stop()
        return reply

    return keeping


def read_kept(request: Any, ctx: Context, service: Service) -> Awaitable[Any]:
    """Give an attempt its own pass over the requests that are kept. A filter."""
    return service(request.requests(), ctx)
