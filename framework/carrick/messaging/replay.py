"""Events of a stream handed once more to a handler, in their order, beside what is consumed.

A replay reads; no consumer's place is touched. A failure of an event's own is counted and the replay goes on; while
something else is away it waits.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from carrick.cancellation import cancelled
from carrick.clock import Clock
from carrick.context import Context, enter
from carrick.errors import ConfigurationError
from carrick.messaging.contract import Broker, Record
from carrick.messaging.handling import Handling, Work
from carrick.messaging.inbound import Inbound, Skipped, UnreadableError
from carrick.messaging.verdict import Again, reason_of, verdict
from carrick.pace import Pace
from carrick.subjects import matches

__all__ = ["FailedEvent", "Moment", "Replay", "ReplayProgress"]

Moment: TypeAlias = int | datetime
"""A sequence of the stream, or a time by the broker's clock."""

_PAGE = 200
_MOST_FAILURES = 1000
_TELL_EVERY = 0.2  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEvent:
    """An event that could not be handled, or a message that is no event."""

    sequence: int
    type: str
    event_id: str
    key: str
    reason: str


@dataclass(slots=True, kw_only=True)
class ReplayProgress:
    """How far a replay is."""

    position: int
    """Everything up to this sequence is done."""
    end: int
    """The last sequence of the range."""
    handled: Counter[str] = field(default_factory=Counter)
    """By type; in a trial what would be."""
    passed_over: int = 0
    """Had their effect before."""
    skipped: int = 0
    """Are none of this consumer's, as its contract says."""
    behind: int = 0
    """Were left because an earlier one of their key failed that later ones wait behind."""
    failed: int = 0
    failures: list[FailedEvent] = field(default_factory=list)
    """The first thousand of them."""
    waiting: str = ""
    """What is away, while it is waited for."""
    seconds: float = 0.0
    finished: bool = False
    """Whether the end was reached."""

    @property
    def events(self) -> int:
        """All of them so far."""
        return self.handled.total() + self.passed_over + self.skipped + self.behind + self.failed


class Replay:
    """One replay. Made by ``Subscriber.replay``; used once."""

    def __init__(
        self,
        broker: Broker,
        stream: str,
        inbound: Inbound,
        handling: Handling,
        clock: Clock,
        *,
        first: Moment,
        last: Moment | None,
        remembered: float | None,
        holds: bool,
        trial: bool,
        stop_on_error: bool,
        rate: float,
        progress: Callable[[ReplayProgress], None],
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._inbound = inbound
        self._handling = handling
        self._clock = clock
        self._range = (first, last)
        self._remembered = remembered
        self._holds = holds
        self._trial = trial
        self._stop_on_error = stop_on_error
        self._pace = Pace(0.0 if trial else rate, clock)
        self._tell = progress
        self._told_at = 0.0
        self._began = 0.0
        self._held: set[str] = set()
        self._stop = asyncio.Event()
        filters = sorted({spec.consumer_filter for spec in inbound.specs})
        self._filters = filters
        self._pattern = filters[0] if len(filters) == 1 else inbound.specs[0].stream_subjects
        self.progress = ReplayProgress(position=0, end=0)

    def stop(self) -> None:
        """Have it end after the event that is under way."""
        self._stop.set()

    async def run(self) -> ReplayProgress:
        """Return when the range is done, after a stop, or after a failure where that stops it.

        Raises ``MessagingError`` when the stream can't be read, and ``ConfigurationError`` when the range begins with
        events that the inbox may have forgotten.
        """
        self._began = self._clock.monotonic()
        progress = self.progress
        progress.position, progress.end = await self._bounds()
        while progress.position < progress.end and not self._stop.is_set():
            records = await self._broker.read(self._stream, self._pattern, progress.position, _PAGE)
            records = [record for record in records if record.sequence <= progress.end]
            for record in records:
                if not await self._next(record):
                    break
            if not records:
                progress.position = progress.end
        progress.finished = progress.position >= progress.end
        self._say(at_once=True)
        return progress

    async def _bounds(self) -> tuple[int, int]:
        """Return the sequence before the range, and its last."""
        first, last = self._range
        ends = await self._broker.latest(self._stream, self._pattern)
        newest = max((record.sequence for record in ends), default=0)
        end = newest if last is None else last if isinstance(last, int) else await self._before(last, newest)
        before = first - 1 if isinstance(first, int) else await self._before(first, newest)
        return max(before, 0), min(end, newest)

    async def _before(self, moment: datetime, newest: int) -> int:
        """Return a sequence up to which everything is older than a moment, and after which nothing is."""
        low, high, wanted = 0, newest, moment.timestamp()
        while low < high:
            middle = (low + high) // 2
            found = await self._broker.read(self._stream, self._pattern, middle, 1)
            if found and found[0].stored_at < wanted:
                low = found[0].sequence
            else:
                high = middle
        return low

    async def _next(self, record: Record) -> bool:
        """Do with a message what is to be done; say whether the next may come."""
        progress = self.progress
        if any(matches(record.subject, each) for each in self._filters):
            await self._pace.wait()
            if self._stop.is_set() or not await self._event(record):
                return False
        progress.position = record.sequence
        self._say()
        if progress.failed and self._stop_on_error:
            self._stop.set()
        return not self._stop.is_set()

    async def _event(self, record: Record) -> bool:
        """Count what became of an event; say whether that is known, and not given up because of a stop."""
        received = _Replayed(record, self._stream)
        progress = self.progress
        try:
            parsed = self._inbound.parse(received)
        except Skipped:
            progress.skipped += 1
            return True
        except UnreadableError as error:
            self._failed(FailedEvent(sequence=record.sequence, type="", event_id="", key="", reason=str(error)))
            return True
        self._check_age(record)
        if parsed.key in self._held:
            progress.behind += 1
            return True
        work = Work(received, parsed)
        outcome = await self._until_known(work)
        if outcome is None:
            return False
        if isinstance(outcome, str):
            envelope, name = parsed.envelope, parsed.route.spec.full_name
            self._failed(
                FailedEvent(sequence=record.sequence, type=name, event_id=envelope.id, key=parsed.key, reason=outcome)
            )
            if self._holds and work.options.hold_key and not parsed.route.spec.unordered:
                self._held.add(parsed.key)
        elif outcome:
            progress.handled[parsed.route.spec.full_name] += 1
        else:
            progress.passed_over += 1
        return True

    async def _until_known(self, work: Work) -> bool | str | None:
        """Return whether the handler had to do with an event, why it failed, or nothing after a stop."""
        while True:
            try:
                return await self._attempt(work)
            except (Exception, asyncio.CancelledError) as error:  # whatever a handler raises is counted
                if cancelled(error):
                    raise
                judged = verdict(
                    error, work.options, attempts=work.attempts, failures=work.failures, uniform=random.random()
                )
                if not isinstance(judged, Again) or judged.failures > work.failures:
                    return reason_of(error)
                self.progress.waiting = reason_of(error)
                self._say(at_once=True)
            if await self._stopped_within(judged.delay):
                return None
            self.progress.waiting = ""

    async def _attempt(self, work: Work) -> bool:
        if await self._handling.had_its_effect(work):
            return False
        if not self._trial:
            work.attempts += 1
            envelope = work.parsed.envelope
            with enter(Context(None, correlation_id=envelope.correlation_id, key=envelope.id)):  # for what is logged
                await self._handling.attempt(work)
        return True

    async def _stopped_within(self, seconds: float) -> bool:
        stopped = asyncio.create_task(self._stop.wait())
        late = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((stopped, late), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            late.cancel()
        return self._stop.is_set()

    def _check_age(self, record: Record) -> None:
        """See to it that the inbox would know of an effect."""
        if self._remembered is not None and record.stored_at < self._clock.wall() - self._remembered:
            raise ConfigurationError(
                f"message {record.sequence} of {self._stream} is older than what the inbox remembers "
                f"({self._remembered:g} s), so its effect could happen twice; begin later, or replay under another name"
            )

    def _failed(self, failure: FailedEvent) -> None:
        self.progress.failed += 1
        if len(self.progress.failures) < _MOST_FAILURES:
            self.progress.failures.append(failure)

    def _say(self, *, at_once: bool = False) -> None:
        now = self._clock.monotonic()
        self.progress.seconds = now - self._began
        if at_once or now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._tell(replace(self.progress))


class _Replayed:
    """A message of a stream as one that was received for the first time."""

    __slots__ = ("data", "deliveries", "headers", "sequence", "stored_at", "stream", "subject")

    def __init__(self, record: Record, stream: str) -> None:
        self.subject = record.subject
        self.data = record.data
        self.headers = record.headers
        self.stream = stream
        self.sequence = record.sequence
        self.deliveries = 1
        self.stored_at = record.stored_at
