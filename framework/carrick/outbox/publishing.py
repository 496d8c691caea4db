"""From rows to a stream: what one relay knows of it, and what it does when the broker disagrees.

For each subject the relay knows the sequence of the last message, and appends only after that one. It forgets it
whenever it can't be sure, and then asks the database how far the stream is known there, and the stream what came
after: what is found is marked, and not published again, however long ago it was stored.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from carrick.errors import Code, MessagingError
from carrick.instruments import Instruments
from carrick.messaging.contract import MAX_BATCH, Broker, Message
from carrick.observe import EventExpired, EventQuarantined, EventsPublished, Observer, StreamBehind
from carrick.outbox import table
from carrick.store.atomically import atomically
from carrick.store.transaction import Database, Transaction
from carrick.trace import Trace

__all__ = ["REFUSALS", "Lease", "Publishing", "by_stream"]

REFUSALS = frozenset({Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED})
"""What a broker says of a message that it will never take."""


@dataclass(slots=True)
class Lease:
    """What a relay may do, and until when it may rely on that without asking: ``owner`` is its own for each start."""

    owner: str
    ttl: float
    partitions: set[int] = field(default_factory=set)


class Publishing:
    """Publishes rows of the partitions that a relay holds, and marks them."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        lease: Lease,
        *,
        observe: Observer,
        instruments: Instruments | None,
    ) -> None:
        self._database = database
        self._broker = broker
        self._lease = lease
        self._observe = observe
        self._instruments = instruments
        self._streams: set[str] = set()
        self._last: dict[tuple[str, str], int] = {}
        self.published = 0
        """Rows published and marked so far."""

    def forget(self, partitions: Collection[int]) -> None:
        """Forget where the subjects of some partitions are: others may have published there."""
        ends = tuple(f".p{each:02d}" for each in partitions)
        self._last = {place: last for place, last in self._last.items() if not place[1].endswith(ends)}

    async def publish(self, stream: str, rows: Sequence[Any]) -> int:
        """Publish rows of one stream in their order; return how many were settled.

        Raises ``MessagingError``: ``ABORTED`` when somebody else has published there, any other code when the broker is
        away. What it says then of what was published is asked of the stream before anything is published again.
        """
        assert len(rows) <= MAX_BATCH
        subjects = {row.subject for row in rows}
        try:
            await self.ensure_stream(stream, rows[0].stream_subjects)
            if unknown := [subject for subject in subjects if (stream, subject) not in self._last]:
                return await self._learn(stream, unknown)  # rows that were read before may be published by now
            expired = [row for row in rows if row.expired]
            fresh = [row for row in rows if not row.expired]
            try:
                last = await self._append(stream, fresh)
            except MessagingError as error:
                if error.code not in REFUSALS:
                    raise
                return await self._one_by_one(stream, rows)
            return await self._mark(stream, fresh, expired, last)
        except BaseException:
            self._forget(stream, subjects)
            raise

    def _forget(self, stream: str, subjects: Iterable[str]) -> None:
        self._streams.discard(stream)  # it may be gone: look again
        for subject in subjects:
            self._last.pop((stream, subject), None)

    async def ensure_stream(self, name: str, subjects: str) -> None:
        """Make a stream, or check the one there, unless that was done since the last failure."""
        if name not in self._streams:
            await self._broker.ensure_stream(name, [subjects])
            self._streams.add(name)

    async def _learn(self, stream: str, unknown: Sequence[str]) -> int:
        """Find out where subjects are, and mark what is in the stream up to there; return how many rows that were."""
        async with self._database.read() as tx:
            known = await table.positions(tx, stream, unknown)
        ends = await asyncio.gather(*(self._broker.last(stream, subject) for subject in unknown))
        found = list[float]()
        for subject, last in zip(unknown, ends, strict=True):
            if last < known[subject]:
                self._observe(StreamBehind(stream=stream, subject=subject, known=known[subject], last=last))
                known[subject] = 0  # that was of what it lost: what has come since may not be marked yet
            while last > known[subject]:
                found += await self._mark_stored(stream, subject, known)
            self._last[stream, subject] = known[subject]
        if found:
            self.published += len(found)
            self._observe(EventsPublished(count=len(found), ages=tuple(found)))
        return len(found)

    async def _mark_stored(self, stream: str, subject: str, known: dict[str, int]) -> list[float]:
        """Mark the next messages of a subject that are in the stream, and go on to the last; return the rows' ages."""
        stored = await self._broker.stored_after(stream, subject, known[subject], MAX_BATCH)
        if not stored:  # the last one was removed meanwhile
            raise MessagingError(
                Code.ABORTED, f"messages of {subject} were removed from stream {stream}: looking again"
            )

        async def found(tx: Transaction) -> list[float]:
            held = await table.renew(tx, owner=self._lease.owner, ttl=self._lease.ttl)
            if int(subject.rpartition(".p")[2]) not in held:
                raise MessagingError(Code.ABORTED, f"{subject} is another relay's now")
            marked = await table.mark_stored(tx, [each.id for each in stored])
            await table.set_positions(tx, stream, {subject: stored[-1].sequence})
            return list(marked.values())

        ages = await atomically(self._database, found)
        known[subject] = stored[-1].sequence
        return ages

    async def _append(self, stream: str, rows: Sequence[Any]) -> Mapping[str, int]:
        if not rows:
            return {}
        messages = [
            Message(stream=stream, subject=row.subject, id=row.id, data=row.payload, headers=json.loads(row.headers))
            for row in rows
        ]
        expected = {row.subject: self._last[stream, row.subject] for row in rows}
        if self._instruments is None:
            return await self._broker.append(messages, expected)
        with ExitStack() as spans:
            for message in messages:
                trace = Trace.parse(message.headers.get("traceparent"))
                if trace is not None and trace.sampled:
                    spans.enter_context(self._instruments.send(message.subject, message.id, trace))
            return await self._broker.append(messages, expected)

    async def _one_by_one(self, stream: str, rows: Sequence[Any]) -> int:
        """Find out which of the rows the broker refuses, and put those aside; the later ones of their keys wait."""
        settled, refused = 0, set[tuple[int, str]]()
        for row in rows:
            if (row.partition, row.key) in refused and not row.unordered:
                continue
            if row.expired:
                settled += await self._mark(stream, [], [row], {})
                continue
            try:
                last = await self._append(stream, [row])
            except MessagingError as error:
                if error.code not in REFUSALS:
                    raise
                if not row.unordered:
                    refused.add((row.partition, row.key))
                settled += await self._quarantine(row, error.message)
            else:
                settled += await self._mark(stream, [row], [], last)
        return settled

    async def _quarantine(self, row: Any, reason: str) -> int:
        async def put_aside(tx: Transaction) -> bool:
            held = await table.renew(tx, owner=self._lease.owner, ttl=self._lease.ttl)
            if row.partition in held:
                await table.quarantine(tx, row.seq, reason)
            return row.partition in held

        if not await atomically(self._database, put_aside):
            return 0
        self._observe(EventQuarantined(event_id=row.id, subject=row.subject, reason=reason))
        return 1

    async def _mark(self, stream: str, rows: Sequence[Any], expired: Sequence[Any], last: Mapping[str, int]) -> int:
        """Mark what was published, and what no longer is to be, in the partitions that are still held."""

        async def marked(tx: Transaction) -> tuple[set[int], float]:
            held, now = await table.renew_at(tx, owner=self._lease.owner, ttl=self._lease.ttl)
            ours = [row for row in rows if row.partition in held]
            await table.mark(tx, [row.seq for row in ours])
            await table.mark_expired(tx, [row.seq for row in expired if row.partition in held])
            await table.set_positions(tx, stream, {row.subject: last[row.subject] for row in ours})
            return held, now

        held, now = await atomically(self._database, marked)
        ours = [row for row in rows if row.partition in held]
        over = [row for row in expired if row.partition in held]
        self._last.update({(stream, row.subject): last[row.subject] for row in ours})
        self._lose(held)
        self.published += len(ours)
        if ours:
            ages = tuple([max(now - row.created_at, 0.0) for row in ours])
            self._observe(EventsPublished(count=len(ours), ages=ages))
        for row in over:
            self._observe(EventExpired(event_id=row.id, subject=row.subject))
        return len(ours) + len(over)

    def _lose(self, held: set[int]) -> None:
        lost = self._lease.partitions - held
        self._lease.partitions &= held
        if lost:
            self.forget(lost)


def by_stream(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """Return rows by their streams, in their order."""
    streams: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        streams[row.stream].append(row)
    return streams
