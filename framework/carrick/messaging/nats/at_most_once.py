"""Events and requests over NATS for those who want no durability."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import Error as NatsError

from carrick.clock import Clock, SystemClock
from carrick.context import Attempt, AttemptKind, Context, current
from carrick.errors import CarrickError, Code, DeadlineError, MessagingError, TransportError
from carrick.event import EventSpec
from carrick.ids import random_id, time_ordered_id
from carrick.instruments import Instruments
from carrick.messaging.cloudevents import Envelope, headers_for
from carrick.messaging.intake import Intake, IntakeOptions
from carrick.messaging.nats.answers import Answers
from carrick.messaging.nats.connection import Connection
from carrick.messaging.nats.denials import Denials
from carrick.messaging.nats.faults import vendor_errors
from carrick.messaging.nats.listener import Listener
from carrick.messaging.nats.responder import Responder
from carrick.messaging.nats.wire import known, leave, publication, send
from carrick.messaging.request_words import error_of, request_headers
from carrick.observe import Observer, log
from carrick.route import EventRoute

__all__ = ["PREFIX", "AtMostOnce"]

PREFIX = "LIVE."
"""What stands before each subject here. A stream made from contracts takes ``orders.>`` or the like, all in lower case:
so no such stream stores what is sent here, and answers a request in the place of who should."""

_EVENTS = IntakeOptions()
_REQUESTS = IntakeOptions(concurrency=32, max_waiting=64)
_PATIENCE = 2.0
_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*").fullmatch
_NO_RESPONDERS = "503"
_NOT_SENT = (ConnectionClosedError, OutboundBufferLimitError)

Event = TypeVar("Event", bound=ProtoMessage)
Req = TypeVar("Req", bound=ProtoMessage)
Res = TypeVar("Res", bound=ProtoMessage)


@dataclass(eq=False, slots=True)
class _Interest:
    """What is listened to, on whatever client."""

    subject: str
    group: str
    received: Callable[[Msg], Awaitable[None]]
    intake: Intake[Any]
    on: tuple[Client, Subscription] | None = None

    async def subscribe(self, client: Client) -> None:
        """Listen on a client."""
        self.on = (client, await client.subscribe(self.subject, queue=self.group, cb=self.received))


class AtMostOnce:
    """Plain publish/subscribe and requests over a connection of its own. Opens and closes as a context manager.

    The guarantee is at most once: what is sent goes to who listens at that moment, or to nobody. Nothing is stored and
    nothing is sent again, neither here nor by NATS; what an outage, a full queue or a failed handler swallows is gone.
    For what must not get lost there are the outbox and :class:`Subscriber`. Subjects are those of contracts, or your
    own, after ``LIVE.``.

    Opening waits up to ``startup_timeout`` seconds for a server; afterwards the connection is restored for as long as
    it takes, and what listened listens again. Closing lets handlers finish for up to ``grace`` seconds. ``source``
    names the service in its events. Used from one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        source: str | None = None,
        startup_timeout: float = 30.0,
        grace: float = 10.0,
        clock: Clock | None = None,
        observe: Observer = log,
        instruments: Instruments | None = None,
    ) -> None:
        self._name = name
        self._source = source or name
        self._grace = grace
        self._clock = clock or SystemClock()
        self._observe = observe
        self._instruments = instruments
        self._answers = Answers()
        self._denials = Denials()
        self._interests: set[_Interest] = set()
        self._connection = Connection(
            url, name=name, startup_timeout=startup_timeout, heard=self._heard, opened=self._opened
        )

    async def open(self) -> None:
        """Connect. Raises ``MessagingError`` when there is no server within the start-up time."""
        await self._connection.open()

    async def close(self) -> None:
        """Stop listening, let handlers finish, send their answers, and disconnect."""
        try:
            await asyncio.gather(*(self._leave(interest) for interest in list(self._interests)))
        finally:
            await self._connection.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(self, spec: EventSpec[Event], event: Event) -> None:
        """Send an event to who listens now; return when it is handed to the connection.

        Nobody says whether anybody had it. Raises ``MessagingError``: ``UNAVAILABLE`` while NATS is away, and
        ``INVALID_ARGUMENT`` for what is larger than the server takes.
        """
        client = self._connection.connected()
        if not isinstance(event, spec.message):
            raise MessagingError(Code.INVALID_ARGUMENT, f"{spec.full_name} is no {type(event).__name__}")
        envelope = self._envelope(spec, event)
        headers = headers_for(spec, envelope, time=self._clock.wall())
        subject = PREFIX + spec.subject
        sending = self._instruments.send(subject, envelope.id, envelope.trace) if self._instruments else nullcontext()
        with sending, vendor_errors(f"publish to {subject}"):
            await send(client, [publication(subject, headers, event.SerializeToString(), limit=client.max_payload)])

    @asynccontextmanager
    async def subscribe(
        self, route: EventRoute[Any], group: str | None = None, *, options: IntakeOptions = _EVENTS
    ) -> AsyncIterator[Listener]:
        """Hand events to the route's handler inside the block, each at most once.

        Of those who name one ``group`` one has each event; everybody without a group has all. An event that finds no
        room, can't be read, or whose handler raises or takes too long, is dropped, counted and observed. While NATS is
        away nothing comes, and later nothing of that time. Leaving the block lets handlers finish, up to the grace.
        """
        listener = Listener(
            route,
            name=self._name,
            options=options,
            clock=self._clock,
            observe=self._observe,
            instruments=self._instruments,
        )
        async with self._listening(route.spec.subject, group, listener.received, listener.intake):
            yield listener

    async def request(self, subject: str, message: ProtoMessage, response_type: type[Res], *, timeout: float) -> Res:
        """Ask who responds to ``subject``, once, and wait for the answer up to ``timeout`` seconds.

        A deadline of what is being handled shortens that. Raises ``RemoteError`` with what the responder said;
        ``DeadlineError`` when no answer came in time: whether the request was handled is then unknown;
        ``TransportError`` (``UNAVAILABLE``) when nobody responds or NATS is away, at once, and certainly unhandled
        (``error.attempt.sent`` is false); ``MessagingError`` for a request larger than the server takes
        (``INVALID_ARGUMENT``) or that it forbids (``PERMISSION_DENIED``). Cancelling gives up waiting; the responder is
        not told.
        """
        ctx, now = current(), self._clock.monotonic()
        attempt = Attempt(1, AttemptKind.FIRST)
        attempt.deadline = _earlier(now + timeout, ctx)
        left = attempt.deadline - now
        if left <= 0:
            raise DeadlineError(f"request to {subject} was not sent: the deadline had passed", attempt=attempt)
        headers = request_headers(ctx, subject, left)
        try:
            where = _below(subject)
            asking = self._asked(where, headers, message, attempt, left)
            answer = await self._denials.unless_denied((where.lower(),), asking)  # nats-py hands errors on so
        except CarrickError as error:
            attempt.code = error.code
            attempt.sent = attempt.sent and error.code is not Code.PERMISSION_DENIED
            error.attempt = attempt
            raise
        if (refusal := error_of(answer.headers or {}, answer.data, attempt)) is not None:
            attempt.code = refusal.code
            raise refusal
        try:
            return response_type.FromString(answer.data)
        except DecodeError as broken:
            attempt.code = Code.INTERNAL
            raise TransportError(
                Code.INTERNAL, f"request to {subject}: the answer can't be read: {broken}", attempt=attempt
            ) from broken

    @asynccontextmanager
    async def respond(
        self,
        subject: str,
        request_type: type[Req],
        handler: Callable[[Req, Context], Awaitable[ProtoMessage]],
        group: str = "responders",
        *,
        options: IntakeOptions = _REQUESTS,
    ) -> AsyncIterator[Responder[Req]]:
        """Answer requests to ``subject`` inside the block with what ``handler`` returns, or with the error it raises.

        Of those who name one ``group`` one gets each request. A request whose asker waits no longer is not handled;
        one that finds no room is refused with ``RESOURCE_EXHAUSTED``. The handler is cancelled when its time is over.
        """
        responder = Responder(
            subject,
            request_type,
            handler,
            self._answer,
            options=options,
            clock=self._clock,
            observe=self._observe,
        )
        async with self._listening(subject, group, responder.received, responder.intake):
            yield responder

    async def _asked(
        self, subject: str, headers: Mapping[str, str], message: ProtoMessage, attempt: Attempt, timeout: float
    ) -> Msg:
        """Send a request and return the answer, whatever it says."""
        client = self._connection.connected()
        what = f"request to {subject}"
        with self._answers.expect() as (inbox, answered):
            with vendor_errors(what):
                limit = client.max_payload
                sent = publication(subject, headers, message.SerializeToString(), limit=limit, reply=inbox)
                await _send(client, sent, attempt, what)
            try:
                async with asyncio.timeout(timeout):
                    answer = await answered
            except TimeoutError:
                raise DeadlineError(
                    f"{what}: no answer within {timeout:.3g} s; whether it was handled is unknown", attempt=attempt
                ) from None
        if (answer.headers or {}).get("Status") == _NO_RESPONDERS:
            attempt.sent = False
            raise TransportError(Code.UNAVAILABLE, f"{what}: nobody responds to it", attempt=attempt)
        return answer

    async def _answer(self, reply: str, headers: Mapping[str, str], data: bytes) -> None:
        client = self._connection.connected()
        with vendor_errors("answer"):
            await send(client, [publication(reply, headers, data, limit=client.max_payload)])

    @asynccontextmanager
    async def _listening(
        self, subject: str, group: str | None, received: Callable[[Msg], Awaitable[None]], intake: Intake[Any]
    ) -> AsyncIterator[None]:
        if group is not None and not _SUBJECT(group):
            raise MessagingError(
                Code.INVALID_ARGUMENT, f"{group!r} is no name for a group: letters and digits, like stock"
            )
        interest = _Interest(_below(subject), group or "", received, intake)
        client = self._connection.connected()
        self._interests.add(interest)
        try:
            with vendor_errors(f"subscribe to {interest.subject}"):
                await interest.subscribe(client)
                await _told(client)
            yield
        finally:
            await self._leave(interest)

    async def _leave(self, interest: _Interest) -> None:
        self._interests.discard(interest)
        on, interest.on = interest.on, None
        try:
            if on is not None:
                await leave(*on, timeout=_PATIENCE)
        except BaseException:
            await interest.intake.close(0.0)
            raise
        await interest.intake.close(self._grace)

    def _heard(self, error: Exception) -> bool:
        self._denials.heard(error)  # who asks hears of it; who publishes has only the log
        return False

    async def _opened(self, client: Client) -> None:
        await self._answers.listen(client)
        for interest in list(self._interests):
            await interest.subscribe(client)
            if interest not in self._interests and interest.on is not None:  # left meanwhile
                await leave(*interest.on, timeout=_PATIENCE)

    def _envelope(self, spec: EventSpec[Event], event: Event) -> Envelope:
        ctx = current()
        event_id = time_ordered_id()
        trace = ctx.trace if ctx else None
        if self._instruments is not None:
            trace = self._instruments.created(spec, event_id, ctx) or trace
        return Envelope(
            id=event_id,
            source=self._source,
            key=spec.key_of(event) or None,
            correlation_id=ctx.correlation_id if ctx else random_id(),
            causation_id=(ctx.key or ctx.causation_id) if ctx else None,
            trace=trace,
        )


def _below(subject: str) -> str:
    if not _SUBJECT(subject):
        raise MessagingError(
            Code.INVALID_ARGUMENT, f"{subject!r} is no subject: words with dots between, without * and >"
        )
    return PREFIX + subject


def _earlier(deadline: float, ctx: Context | None) -> float:
    return deadline if ctx is None or ctx.deadline is None else min(deadline, ctx.deadline)


async def _send(client: Client, sent: bytes, attempt: Attempt, what: str) -> None:
    """Send a request; note when it certainly was not."""
    attempt.sent = True
    try:
        await send(client, [sent])
    except _NOT_SENT as error:
        attempt.sent = False
        raise TransportError(Code.UNAVAILABLE, f"{what}: not connected to NATS", attempt=attempt) from error


async def _told(client: Client) -> None:
    """Return when the server knows what was subscribed to; while it is away, it will be told when it is back."""
    try:
        if client.is_connected:
            await known(client, _PATIENCE)
    except NatsError:
        pass
