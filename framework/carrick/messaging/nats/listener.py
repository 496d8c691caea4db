"""What hands events that are delivered at most once to their handler."""

import asyncio
import logging
from typing import Any

from nats.aio.msg import Msg

from carrick.cancellation import cancelled
from carrick.clock import Clock
from carrick.context import Call, Context, enter
from carrick.errors import CarrickError
from carrick.ids import random_id
from carrick.instruments import Instruments
from carrick.messaging.cloudevents import Envelope, decode, read
from carrick.messaging.intake import Intake, IntakeOptions
from carrick.observe import EventDropped, EventOverflowed, Observer
from carrick.route import EventRoute
from carrick.stacks import event_stack

__all__ = ["Listener"]

_LOG_EVERY = 5.0
_CALLS_END = 0.95  # as a share of the timeout, so that a peer that hangs is seen as that
_logger = logging.getLogger("carrick.at_most_once")


class Listener:
    """Handles the events of one contract as they come; what fails is observed and gone."""

    def __init__(
        self,
        route: EventRoute[Any],
        *,
        name: str,
        options: IntakeOptions,
        clock: Clock,
        observe: Observer,
        instruments: Instruments | None,
    ) -> None:
        self._spec = route.spec
        self._name = name
        self._options = options
        self._clock = clock
        self._observe = observe
        self._service = event_stack(route.handler, route.spec, name, instruments=instruments)
        self._last_warning = -_LOG_EVERY
        self._unsaid = 0
        self.intake: Intake[Msg] = Intake(self._handle, options, name=f"{name}: {route.spec.full_name}")
        """Where events wait and are handled."""
        self.handled = 0
        """Events whose handler returned."""
        self.failed = 0
        """Events that could not be read, or whose handler raised or took too long."""
        self.overflowed = 0
        """Events that found no room, and were dropped."""

    async def received(self, message: Msg) -> None:
        """Take an event, or drop it where too many wait."""
        if not self.intake.offer(message, len(message.data)):
            self.overflowed += 1
            self._observe(EventOverflowed(subject=message.subject, event_type=self._spec.full_name))
            self._warn()

    def _warn(self) -> None:
        self._unsaid += 1
        now = self._clock.monotonic()
        if now - self._last_warning >= _LOG_EVERY:
            self._last_warning = now
            _logger.warning(
                "%s: the handler of %s is too slow: %d events found no room and are gone",
                self._name,
                self._spec.full_name,
                self._unsaid,
            )
            self._unsaid = 0

    async def _handle(self, message: Msg) -> None:
        headers = message.headers or {}
        envelope = read(headers, fallback_id=random_id())
        try:
            event = self._event(envelope, message.data)
        except ValueError as error:
            return self._drop(message, envelope, str(error))
        with enter(self._context(envelope, headers)) as ctx:
            try:
                async with asyncio.timeout(self._options.timeout) as limit:
                    await self._service(event, ctx)
            except (Exception, asyncio.CancelledError) as error:  # whatever a handler raises, the next one has its turn
                if cancelled(error):
                    raise
                if not isinstance(error, CarrickError | TimeoutError):
                    _logger.error("%s: the handler of %s failed", self._name, self._spec.full_name, exc_info=error)
                late = limit.expired() and f"not handled within {self._options.timeout:g} s"
                return self._drop(message, envelope, late or f"{type(error).__name__}: {error}")
        self.handled += 1
        return None

    def _event(self, envelope: Envelope, data: bytes) -> Any:
        if envelope.type not in (None, self._spec.full_name):
            raise ValueError(f"it is of type {envelope.type!r}, not {self._spec.full_name}")
        return decode(self._spec, envelope, data)

    def _context(self, envelope: Envelope, headers: dict[str, str]) -> Context:
        call = Call()
        call.scope = self._name
        return Context(
            None,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            deadline=self._clock.monotonic() + _CALLS_END * self._options.timeout,
            key=envelope.id,
            metadata=tuple((name.lower(), value) for name, value in headers.items()),
            trace=envelope.trace,
            call=call,
        )

    def _drop(self, message: Msg, envelope: Envelope, reason: str) -> None:
        self.failed += 1
        self._observe(
            EventDropped(subject=message.subject, event_type=self._spec.full_name, event_id=envelope.id, reason=reason)
        )
