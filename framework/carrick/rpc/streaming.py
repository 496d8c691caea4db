"""The two directions of a streaming call over grpc.aio, on the side of the client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, Self

import grpc.aio
from google.protobuf.message import Message

from carrick.cancellation import cancelled
from carrick.context import Attempt
from carrick.errors import Code, DeadlineError
from carrick.method import MethodSpec
from carrick.rpc.status import raise_ended
from carrick.stream import check_streamed, close, report

__all__ = ["RequestSender", "Responses"]


class RequestSender:
    """Sends requests in a task of its own, each when the connection has room for it, and closes their source.

    An error of the source ends the call, and is then the caller's to hear: :meth:`raise_own_error`. One that comes when
    the call is over already, as the source is closed, does not hide how it ended: the event loop reports it.
    """

    def __init__(self, call: Any, requests: AsyncIterable[Message], method: MethodSpec[Any, Any]) -> None:
        self._call = call
        self._requests = requests
        self._method = method
        self._error: BaseException | None = None
        self._stopped = False
        self._task = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """End the sending, if it has not ended, and wait until the source is closed."""
        self._stopped = True
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))

    def raise_own_error(self, end: BaseException) -> None:
        """Raise what the source of the requests raised, if that is why the call ended; a cancellation goes first."""
        if self._error is not None and not cancelled(end):
            raise self._error

    async def _send(self) -> None:
        try:
            try:
                async for request in self._requests:
                    check_streamed(request, self._method)
                    if not await self._done(self._write(request)):
                        return
                await self._done(self._call.done_writing())
            finally:
                await close(self._requests)
        except BaseException as error:  # whatever the source raises is for the caller, who waits
            if cancelled(error):
                raise
            if self._stopped or self._call.done():
                report(error, f"{self._method.full_name}: its requests failed when the call was over")
                return
            self._error = error
            self._call.cancel()

    async def _write(self, request: Message) -> None:
        """Write one request. grpc's own ``write``, when the peer ends the call meanwhile, hides its status."""
        encoded = self._method.encode_request(request)  # before anything is awaited: the source may change it after
        await self._call.wait_for_connection()
        await self._call._cython_call.send_serialized_message(encoded)

    async def _done(self, write: Awaitable[None]) -> bool:
        """Wait for a write; false when the call has ended, which the reader of its responses hears of."""
        try:
            await write
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            return False
        except asyncio.CancelledError as error:
            if cancelled(error):
                raise
            return False
        return True


class Responses:
    """The responses of a call, each taken from the connection when it is asked for: so the peer feels back-pressure.

    At its end the attempt has the peer's trailers.
    """

    def __init__(self, call: Any, sender: RequestSender | None, attempt: Attempt, method: MethodSpec[Any, Any]) -> None:
        self._call = call
        self._messages: AsyncIterator[Any] = aiter(call)
        self._sender = sender
        self._attempt = attempt
        self._decode = method.decode_response
        self._method = method.full_name
        self._first: Any = None
        self._ended = False

    async def begun(self, patience: float | None) -> Self:
        """Wait for the first response, or the end, and raise what comes in their place.

        After ``patience`` seconds that is ``DeadlineError``.
        """
        if patience is None:
            return await self._begin()
        try:
            async with asyncio.timeout(patience) as first:
                return await self._begin()
        except TimeoutError:
            if not first.expired():
                raise
            self._attempt.code = Code.DEADLINE_EXCEEDED
            raise DeadlineError(f"{self._method}: no response came in time", attempt=self._attempt) from None

    async def _begin(self) -> Self:
        with suppress(StopAsyncIteration):
            self._first = await self._next()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        first, self._first = self._first, None
        return first if first is not None else await self._next()

    async def aclose(self) -> None:
        """Cancel the call, unless it has ended, and wait until the source of the requests is closed."""
        self._ended = True
        self._call.cancel()
        if self._sender is not None:
            await self._sender.stop()

    async def _next(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        try:
            return self._decode(await self._messages.__anext__())
        except StopAsyncIteration:
            await self._end()
            raise
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # raised again, as what it means
            await self.aclose()
            if self._sender is not None:
                self._sender.raise_own_error(error)
            raise_ended(error, self._attempt, self._method)

    async def _end(self) -> None:
        self._ended = True
        self._attempt.code = Code.OK
        self._attempt.headers = tuple(await self._call.initial_metadata() or ())
        self._attempt.trailers = tuple(await self._call.trailing_metadata() or ())
        if self._sender is not None:
            await self._sender.stop()
