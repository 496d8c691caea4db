"""Messages from a thread to an event loop, one at a time."""

import asyncio
import contextvars
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from google.protobuf.message import Message

from carrick.rpc.loop_thread import LoopThread
from carrick.stream import copied

__all__ = ["Handover", "ThreadedHandover"]

T = TypeVar("T", bound=Message)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the messages, and the error that it came with."""

    error: BaseException | None = None


class Handover(Generic[T]):
    """An asynchronous iterator, on the loop, of messages that another thread iterates over.

    That thread gets at most two messages ahead of the loop. It hands copies over: a generator may yield one message
    object again and again.
    """

    def __init__(self, loop: LoopThread, messages: Iterable[T]) -> None:
        self._loop = loop
        self._messages = messages
        self._ahead: asyncio.Queue[T | _End] = asyncio.Queue(1)
        self._finished = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        message = await self._ahead.get()
        if isinstance(message, _End):
            raise message.error or StopAsyncIteration
        return message

    async def aclose(self) -> None:
        """Take no more: the thread that sends stops at its next message."""
        self._finished = True
        while not self._ahead.empty():
            self._ahead.get_nowait()

    def send(self) -> None:
        """Iterate in this thread until the end, or until no more is taken; then close the messages, if a generator."""
        messages = iter(self._messages)
        try:
            for message in messages:
                if not self._loop.run(self._put(copied(message))):
                    return
            self._loop.run(self._put(_End()))
        finally:
            if isinstance(messages, Generator):
                messages.close()

    async def _put(self, message: T | _End) -> bool:
        if not self._finished:
            await self._ahead.put(message)
        return not self._finished


class ThreadedHandover(Handover[T]):
    """One that begins a thread of its own, in the maker's context variables, when the first message is asked for."""

    def __init__(self, loop: LoopThread, messages: Iterable[T]) -> None:
        super().__init__(loop, messages)
        self._context = contextvars.copy_context()

    def __aiter__(self) -> Self:
        threading.Thread(target=self._context.run, args=(self._send,), name="carrick-requests", daemon=True).start()
        return self

    def _send(self) -> None:
        try:
            self.send()
        except BaseException as error:  # noqa: BLE001  # whatever the messages raise is raised where they are read
            self._loop.run(self._put(_End(error)))
