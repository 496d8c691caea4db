"""What hands requests that came over NATS to their handler, and answers them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from nats.aio.msg import Msg

from carrick.cancellation import cancelled
from carrick.clock import Clock
from carrick.context import Context, enter
from carrick.errors import CarrickError, Code, DeadlineError
from carrick.messaging.intake import Intake, IntakeOptions
from carrick.messaging.request_words import context_of, error_headers, time_left
from carrick.observe import Observer, RequestRefused
from carrick.status import encoded, told

__all__ = ["Responder"]

Req = TypeVar("Req", bound=ProtoMessage)
Answer = Callable[[str, Mapping[str, str], bytes], Awaitable[None]]
_logger = logging.getLogger("carrick.at_most_once")


@dataclass(frozen=True, slots=True)
class _Asked:
    message: Msg
    deadline: float


class Responder(Generic[Req]):
    """Answers the requests to one subject: with the handler's message, or with the error it raised.

    ``answer`` sends an answer to a subject; it raises ``CarrickError`` when that can't be sent.
    """

    def __init__(
        self,
        subject: str,
        request_type: type[Req],
        handler: Callable[[Req, Context], Awaitable[ProtoMessage]],
        answer: Answer,
        *,
        options: IntakeOptions,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._subject = subject
        self._type = request_type
        self._handler = handler
        self._answer = answer
        self._options = options
        self._clock = clock
        self._observe = observe
        self.intake: Intake[_Asked] = Intake(self._handle, options, name=f"requests to {subject}")
        """Where requests wait and are handled."""

    async def received(self, message: Msg) -> None:
        """Take a request; where too many wait, say so at once."""
        if not message.reply:
            return self._refused("no_reply")
        left = time_left(message.headers or {}, self._options.timeout)
        asked = _Asked(message, self._clock.monotonic() + left)
        if not self.intake.offer(asked, len(message.data)):
            self._refused("queue")
            await self._say(asked, CarrickError(Code.RESOURCE_EXHAUSTED, f"{self._subject}: too many requests"))
        return None

    def _refused(self, reason: str) -> None:
        self._observe(RequestRefused(subject=self._subject, reason=reason))

    async def _handle(self, asked: _Asked) -> None:
        if asked.deadline <= self._clock.monotonic():  # who asked has gone
            return self._refused("expired")
        with enter(context_of(asked.message.headers or {}, asked.deadline)) as ctx:
            try:
                data = (await self._response(asked, ctx)).SerializeToString()
            except (Exception, asyncio.CancelledError) as error:  # whatever a handler raises is its answer
                if cancelled(error):
                    await self._say(
                        asked, CarrickError(Code.UNAVAILABLE, f"{self._subject}: stopped while handling it")
                    )
                    raise
                if not isinstance(error, CarrickError):
                    _logger.error("the handler of requests to %s failed", self._subject, exc_info=error)
                await self._say(asked, told(error, ctx.correlation_id))
            else:
                await self._respond(asked, data)
        return None

    async def _respond(self, asked: _Asked, data: bytes) -> None:
        try:
            await self._answer(asked.message.reply, {}, data)
        except CarrickError as error:
            _logger.warning("%s: an answer could not be sent: %s", self._subject, error)
            if error.code is Code.INVALID_ARGUMENT:
                said = f"{self._subject}: the answer of {len(data)} bytes is larger than the NATS server takes"
                await self._say(asked, CarrickError(Code.RESOURCE_EXHAUSTED, said))

    async def _response(self, asked: _Asked, ctx: Context) -> ProtoMessage:
        try:
            request = self._type.FromString(asked.message.data)
        except DecodeError as error:
            raise CarrickError(
                Code.INVALID_ARGUMENT, f"{self._subject}: the request is no {self._type.DESCRIPTOR.full_name}: {error}"
            ) from error
        clock_left = asked.deadline - self._clock.monotonic()
        try:
            async with asyncio.timeout(clock_left) as limit:
                return await self._handler(request, ctx)
        except TimeoutError as error:
            if not limit.expired():  # the handler's own
                raise
            raise DeadlineError(f"{self._subject}: the handler did not end in time") from error

    async def _say(self, asked: _Asked, error: CarrickError) -> None:
        """Answer with an error. Where that can't be sent either, who asked will hear of nothing until its deadline."""
        data = encoded(error.code, error.message, error.details)
        try:
            await self._answer(asked.message.reply, error_headers(error), data)
        except CarrickError as failed:
            _logger.warning("%s: an answer could not be sent: %s", self._subject, failed)
