"""One attempt at an event: its context, its handler, its time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from carrick.claim import Receipt, Tenure
from carrick.clock import Clock
from carrick.context import Call, Context, enter
from carrick.errors import DuplicateEventError
from carrick.event import EventSpec
from carrick.instruments import Instruments
from carrick.messaging.inbound import Parsed, Received
from carrick.route import EventRoute
from carrick.service import Service
from carrick.stacks import event_stack
from carrick.store.atomically import atomically
from carrick.store.inbox import Inbox
from carrick.store.transaction import Transaction

__all__ = ["Handling", "Tally", "UnrecordedError", "Work"]

_CALLS_END = 0.95
"""Share of the timeout after which calls end: a peer that hangs is then seen as the outage that it is."""


class UnrecordedError(Exception):
    """A handler with an inbox returned without ``tx.handled()``: its effect is committed, and would be repeated."""


@dataclass(slots=True, eq=False)
class Work:
    """An event that is being worked on."""

    received: Received
    parsed: Parsed
    tenure: Tenure | None = None
    """That of who handles it, where its key has an order."""
    attempts: int = 0
    failures: int = 0
    late: bool = False
    """Whether its time was over before it was handled."""

    @property
    def options(self) -> Any:
        """How it is handled."""
        return self.parsed.route.options


class Tally(Protocol):
    """Takes what is measured of events, on the event loop, between two awaits: it must be quick and must not raise."""

    def tried(self, consumer: str, spec: EventSpec[Any], seconds: float, error: BaseException | None) -> None:
        """Hear how long a handler took, and what it raised."""
        ...

    def committed(self, consumer: str, works: Sequence[Work]) -> None:
        """Hear that these events had their effects just now."""
        ...


class Handling:
    """Hands events to their handlers. Each attempt has its effect once or raises."""

    def __init__(
        self,
        consumer: str,
        routes: Sequence[EventRoute[Any]],
        inbox: Inbox | None,
        *,
        instruments: Instruments | None,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._clock = clock
        self.tally: Tally | None = None
        """Whoever measures; without one nothing is measured."""
        self._services: dict[str, Service] = {
            route.spec.full_name: event_stack(
                _applied(route) if route.applies else route.handler, route.spec, consumer, instruments=instruments
            )
            for route in routes
        }

    async def had_its_effect(self, work: Work) -> bool:
        """Say whether an earlier attempt, maybe of another process, was committed."""
        return self._inbox is not None and await self._inbox.holds(self._consumer, work.parsed.envelope.id)

    async def attempt(self, work: Work) -> None:
        """Handle an event by itself. Raises what its handler raises, and ``TimeoutError``."""
        route = work.parsed.route
        if route.applies:
            await self.attempt_together([work])
            return
        again = work.attempts > 1 or work.received.deliveries > 1
        if again and await self.had_its_effect(work):
            return
        ctx = self._context(work)
        receipt = None
        if self._inbox is not None:
            receipt = ctx.call.receipt = Receipt(self._consumer, work.parsed.envelope.id, work.tenure)
        with enter(ctx):
            try:
                async with asyncio.timeout(route.options.timeout):
                    await self._serve(work, ctx)
            except DuplicateEventError:
                return
        if receipt is not None and not receipt.fulfilled:
            raise UnrecordedError(
                f"the handler of {route.spec.full_name} returned without recording the event; what it committed "
                "stays; call `await tx.handled()` in its transaction, or subscribe with inbox=None"
            )
        if self.tally is not None:
            self.tally.committed(self._consumer, (work,))

    async def attempt_together(self, works: Sequence[Work]) -> None:
        """Apply events in one transaction, in their order: all of them have their effect, or none has."""
        inbox = self._inbox
        assert inbox is not None

        ids = {work.parsed.envelope.id for work in works}
        tenures = {work.tenure for work in works if work.tenure is not None}

        async def applied(tx: Transaction) -> list[Work]:
            done: list[Work] = []
            new = set(await inbox.receive(tx, self._consumer, ids, tenures))
            for work in works:
                if work.parsed.envelope.id in new:
                    new.discard(work.parsed.envelope.id)  # it may be there twice
                    ctx = self._context(work)
                    ctx.call.transaction = tx
                    with enter(ctx):
                        await self._serve(work, ctx)
                    done.append(work)
            return done

        async with asyncio.timeout(max(work.options.timeout for work in works)):
            done = await atomically(inbox.database, applied)
        if self.tally is not None:
            self.tally.committed(self._consumer, done)

    async def _serve(self, work: Work, ctx: Context) -> None:
        """Call the handler."""
        spec, tally = work.parsed.route.spec, self.tally
        if tally is None:
            await self._services[spec.full_name](work.parsed.event, ctx)
            return
        began = self._clock.monotonic()
        try:
            await self._services[spec.full_name](work.parsed.event, ctx)
        except BaseException as error:
            tally.tried(self._consumer, spec, self._clock.monotonic() - began, error)
            raise
        tally.tried(self._consumer, spec, self._clock.monotonic() - began, None)

    def _context(self, work: Work) -> Context:
        envelope = work.parsed.envelope
        call = Call()
        call.scope = self._consumer
        return Context(
            None,
            correlation_id=envelope.correlation_id,
            causation_id=envelope.causation_id,
            deadline=self._clock.monotonic() + _CALLS_END * work.options.timeout,
            key=envelope.id,
            metadata=tuple([(name.lower(), value) for name, value in work.received.headers.items()]),
            trace=envelope.trace,
            call=call,
        )


def _applied(route: EventRoute[Any]) -> Service:
    """Return a service whose handler gets the transaction of its group."""
    handler = route.handler

    async def applied(event: Any, ctx: Context) -> None:
        await handler(event, ctx.call.transaction, ctx)

    return applied
